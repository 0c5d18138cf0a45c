"""Jobs and CronJobs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from controlplane.apiserver.strategies.pod_defaults import default_template
from controlplane.apiserver.strategies.pod_validation import pod_spec_faults
from controlplane.apiserver.strategy import METADATA_FIELDS, Strategy
from controlplane.apiserver.validation import forbidden, immutable, invalid, label_faults, required, unsupported
from kubeapi import cron
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.types import batch_v1, meta_v1

UID, NAME = "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"
LEGACY_UID, LEGACY_NAME = "controller-uid", "job-name"
LONGEST_NAME = 52
"""Of a CronJob: its Jobs get eleven characters more, and theirs must be a label's value."""


def default_spec(spec: batch_v1.JobSpec) -> batch_v1.JobSpec:
    completions, parallelism = spec.completions, spec.parallelism
    if completions is None and parallelism is None:
        completions = 1
    template = spec.template
    return replace(
        spec,
        completions=completions,
        parallelism=1 if parallelism is None else parallelism,
        backoff_limit=6 if spec.backoff_limit is None else spec.backoff_limit,
        completion_mode=spec.completion_mode or "NonIndexed",
        suspend=bool(spec.suspend),
        pod_replacement_policy=spec.pod_replacement_policy or "TerminatingOrFailed",
        manual_selector=spec.manual_selector,
        template=default_template(template),
    )


def spec_faults(spec: batch_v1.JobSpec, path: str) -> Iterator[FieldError]:
    for name, value in (
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("backoffLimit", spec.backoff_limit),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
    ):
        if value is not None and value < 0:
            yield invalid(f"{path}.{name}", value, "must be greater than or equal to 0")
    if spec.completion_mode not in ("NonIndexed", "Indexed"):
        yield unsupported(f"{path}.completionMode", spec.completion_mode, ("NonIndexed", "Indexed"))
    if spec.completion_mode == "Indexed" and spec.completions is None:
        yield required(f"{path}.completions", "when completion mode is Indexed")
    if spec.pod_replacement_policy not in ("TerminatingOrFailed", "Failed"):
        yield unsupported(
            f"{path}.podReplacementPolicy", spec.pod_replacement_policy, ("TerminatingOrFailed", "Failed")
        )
    for name, given in (
        ("podFailurePolicy", spec.pod_failure_policy),
        ("successPolicy", spec.success_policy),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ):
        if given is not None:
            yield forbidden(f"{path}.{name}", "not supported by this cluster's Job controller")
    template = f"{path}.template"
    yield from label_faults(f"{template}.metadata.labels", spec.template.metadata.labels)
    yield from pod_spec_faults(spec.template.spec, f"{template}.spec")
    if spec.template.spec.restart_policy not in ("OnFailure", "Never"):
        yield unsupported(f"{template}.spec.restartPolicy", spec.template.spec.restart_policy, ("OnFailure", "Never"))


_INDEXES = re.compile(r"(\d{1,10}(-\d{1,10})?(,\d{1,10}(-\d{1,10})?)*)?", re.ASCII)


class JobStrategy(Strategy):
    fields: ClassVar = {**METADATA_FIELDS, "status.successful": lambda o: str(o.status.succeeded)}

    def default(self, obj: batch_v1.Job) -> batch_v1.Job:
        return replace(obj, spec=default_spec(obj.spec))

    def prepare_create(self, obj: batch_v1.Job) -> batch_v1.Job:
        spec, meta = obj.spec, obj.metadata
        if not spec.manual_selector and spec.selector is None:
            ours = {UID: meta.uid, NAME: meta.name, LEGACY_UID: meta.uid, LEGACY_NAME: meta.name}
            template = replace(
                spec.template,
                metadata=replace(spec.template.metadata, labels={**spec.template.metadata.labels, **ours}),
            )
            spec = replace(spec, selector=meta_v1.LabelSelector(match_labels={UID: meta.uid}), template=template)
            if not meta.labels:
                meta = replace(meta, labels=template.metadata.labels)
        return replace(obj, metadata=meta, spec=spec, status=batch_v1.JobStatus())

    def validate(self, obj: batch_v1.Job) -> Iterator[FieldError]:
        yield from spec_faults(obj.spec, "spec")
        selector = obj.spec.selector
        if selector is None:
            yield required("spec.selector")
        elif not obj.spec.manual_selector and selector.match_labels != {UID: obj.metadata.uid}:
            yield invalid(
                "spec.selector", selector.match_labels, "`selector` is generated unless manualSelector is true"
            )

    def validate_status(self, new: batch_v1.Job, old: batch_v1.Job) -> Iterator[FieldError]:
        for name, text in (
            ("completedIndexes", new.status.completed_indexes),
            ("failedIndexes", new.status.failed_indexes or ""),
        ):
            if not _INDEXES.fullmatch(text):
                yield invalid(f"status.{name}", text, "must be numbers and ranges of them with commas between: 1,3-5,7")

    def validate_update(self, new: batch_v1.Job, old: batch_v1.Job) -> Iterator[FieldError]:
        yield from immutable("spec.selector", new.spec.selector, old.spec.selector)
        yield from immutable("spec.completionMode", new.spec.completion_mode, old.spec.completion_mode)
        elastic = new.spec.completion_mode == "Indexed" and new.spec.completions == new.spec.parallelism
        if not elastic:
            yield from immutable("spec.completions", new.spec.completions, old.spec.completions)
        waits = bool(old.spec.suspend) and old.status.start_time is None
        if not waits:
            yield from immutable("spec.template", new.spec.template, old.spec.template)


class CronJobStrategy(Strategy):
    def default(self, obj: batch_v1.CronJob) -> batch_v1.CronJob:
        spec, template = obj.spec, obj.spec.job_template
        good, bad = spec.successful_jobs_history_limit, spec.failed_jobs_history_limit
        return replace(
            obj,
            spec=replace(
                spec,
                concurrency_policy=spec.concurrency_policy or "Allow",
                suspend=bool(spec.suspend),
                successful_jobs_history_limit=3 if good is None else good,
                failed_jobs_history_limit=1 if bad is None else bad,
                job_template=replace(template, spec=default_spec(template.spec)),
            ),
        )

    def validate(self, obj: batch_v1.CronJob) -> Iterator[FieldError]:
        spec = obj.spec
        if len(obj.metadata.name) > LONGEST_NAME:
            yield invalid("metadata.name", obj.metadata.name, f"must be no more than {LONGEST_NAME} characters")
        if not spec.schedule:
            yield required("spec.schedule")
        else:
            try:
                cron.parse(spec.schedule)
            except ValueError as error:
                yield invalid("spec.schedule", spec.schedule, str(error))
        try:
            cron.zone_of(spec.time_zone)
        except ValueError as error:
            yield invalid("spec.timeZone", spec.time_zone, str(error))
        policies = ("Allow", "Forbid", "Replace")
        if spec.concurrency_policy not in policies:
            yield unsupported("spec.concurrencyPolicy", spec.concurrency_policy, policies)
        for name, value in (
            ("startingDeadlineSeconds", spec.starting_deadline_seconds),
            ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
            ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
        ):
            if value is not None and value < 0:
                yield invalid(f"spec.{name}", value, "must be greater than or equal to 0")
        if spec.job_template.spec.selector is not None or spec.job_template.spec.manual_selector:
            yield forbidden("spec.jobTemplate.spec.selector", "`selector` will be auto-generated")
        yield from spec_faults(spec.job_template.spec, "spec.jobTemplate.spec")
