"""What a CronJob does now: start a Job, or wait, and which old Jobs to forget. Pure.

The name of a Job holds the minute it was due, so the same appointment never makes two, whoever tries and however often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo

from kubeapi import cron
from kubeapi.meta import controller_reference, get_condition, replace
from kubeapi.types.batch_v1 import CronJob, CronJobStatus, Job
from kubeapi.types.core_v1 import ObjectReference
from kubeapi.types.meta_v1 import ObjectMeta

SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
MANY = 100
"""Missed appointments from which on something is wrong: a clock that jumped, or nobody at work for long."""


@dataclass(frozen=True, slots=True)
class CronPlan:
    status: CronJobStatus
    start: Job | None = None
    due: datetime | None = None
    """When the Job to be started was due."""
    replace: list[Job] = field(default_factory=list)
    """Still active, to be deleted before the next is started."""
    forget: list[Job] = field(default_factory=list)
    look_again: float | None = None
    reason: str = ""
    message: str = ""
    """The event to tell."""


def outcome(job: Job) -> str:
    """Complete, Failed, or empty while it runs."""
    for type_ in ("Complete", "Failed"):
        condition = get_condition(job.status.conditions, type_)
        if condition is not None and condition.status == "True":
            return type_
    return ""


def plan(crons: CronJob, jobs: Sequence[Job], now: datetime) -> CronPlan:
    """`jobs` are the CronJob's own."""
    status, forget = _status(crons, jobs), _history(crons, jobs)
    if crons.metadata.deletion_timestamp is not None:
        return CronPlan(status)
    if crons.spec.suspend:
        return CronPlan(status, forget=forget)
    try:
        schedule, zone = cron.parse(crons.spec.schedule), cron.zone_of(crons.spec.time_zone)
    except ValueError as error:
        return CronPlan(status, forget=forget, reason="UnparseableSchedule", message=str(error))
    due, missed = _due(crons, schedule, zone, now)
    upcoming = schedule.after(now, zone)
    again = (upcoming - now).total_seconds() + 0.001 if upcoming is not None else None
    message = "too many missed start times; set or decrease startingDeadlineSeconds, or check the clocks"
    wait = CronPlan(
        status,
        forget=forget,
        look_again=again,
        reason="TooManyMissedTimes" if missed >= MANY else "",
        message=message if missed >= MANY else "",
    )
    if due is None:
        return wait
    deadline = crons.spec.starting_deadline_seconds
    if deadline is not None and due + timedelta(seconds=deadline) < now:
        text = f"Missed scheduled time to start a job: {due:%a, %d %b %Y %H:%M:%S} UTC"
        return replace_plan(wait, reason="MissSchedule", message=text)
    active = [job for job in jobs if not outcome(job) and job.metadata.deletion_timestamp is None]
    if any(job.metadata.name == name_of(crons, due) for job in jobs):
        return wait
    if active and crons.spec.concurrency_policy == "Forbid":
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return replace_plan(wait, reason="JobAlreadyActive", message=text)
    stale = active if crons.spec.concurrency_policy == "Replace" else []
    return CronPlan(status, start=job_of(crons, due), due=due, replace=stale, forget=forget, look_again=again)


def replace_plan(plan: CronPlan, *, reason: str, message: str) -> CronPlan:
    return CronPlan(plan.status, forget=plan.forget, look_again=plan.look_again, reason=reason, message=message)


def _due(crons: CronJob, schedule: cron.Schedule, zone: tzinfo, now: datetime) -> tuple[datetime | None, int]:
    """The latest appointment that has come and not been kept, and how many there were (counted up to MANY)."""
    since = crons.status.last_schedule_time or crons.metadata.creation_timestamp or now
    deadline = crons.spec.starting_deadline_seconds
    if deadline is not None:
        since = max(since, now - timedelta(seconds=deadline))
    found, count = None, 0
    moment = schedule.after(since, zone)
    while moment is not None and moment <= now:
        found, count = moment, count + 1
        if count >= MANY:
            return _latest(schedule, zone, now) or found, count
        moment = schedule.after(moment, zone)
    return found, count


def _latest(schedule: cron.Schedule, zone: tzinfo, now: datetime) -> datetime | None:
    """The last one before now, looked for in spans that double."""
    span = timedelta(minutes=2)
    while span < timedelta(days=800):
        moment, found = schedule.after(now - span, zone), None
        while moment is not None and moment <= now:
            found, moment = moment, schedule.after(moment, zone)
        if found is not None:
            return found
        span *= 4
    return None


def name_of(crons: CronJob, due: datetime) -> str:
    return f"{crons.metadata.name}-{int(due.timestamp()) // 60}"


def job_of(crons: CronJob, due: datetime) -> Job:
    template = crons.spec.job_template
    return Job(
        metadata=ObjectMeta(
            name=name_of(crons, due),
            namespace=crons.metadata.namespace,
            labels=template.metadata.labels,
            annotations={**template.metadata.annotations, SCHEDULED: f"{due:%Y-%m-%dT%H:%M:%SZ}"},
            owner_references=[controller_reference(crons)],
        ),
        spec=template.spec,
    )


def reference_to(job: Job) -> ObjectReference:
    meta = job.metadata
    return ObjectReference(
        api_version=job.api_version,
        kind=job.kind,
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        resource_version=meta.resource_version,
    )


def _status(crons: CronJob, jobs: Sequence[Job]) -> CronJobStatus:
    running = sorted((j for j in jobs if not outcome(j)), key=lambda j: j.metadata.name)
    good = [j.status.completion_time for j in jobs if outcome(j) == "Complete" and j.status.completion_time is not None]
    last = max([*good, *filter(None, [crons.status.last_successful_time])], default=None)
    known = {ref.uid: ref for ref in crons.status.active}
    active = [known.get(j.metadata.uid) or reference_to(j) for j in running]
    return replace(crons.status, active=active, last_successful_time=last)


def _history(crons: CronJob, jobs: Sequence[Job]) -> list[Job]:
    """The oldest beyond each limit."""
    found: list[Job] = []
    limits = (
        ("Complete", crons.spec.successful_jobs_history_limit, 3),
        ("Failed", crons.spec.failed_jobs_history_limit, 1),
    )
    for result, limit, default in limits:
        ended = [j for j in jobs if outcome(j) == result and j.metadata.deletion_timestamp is None]
        ended.sort(key=lambda j: (j.metadata.creation_timestamp, j.metadata.name))
        found += ended[: max(0, len(ended) - (default if limit is None else limit))]
    return found
