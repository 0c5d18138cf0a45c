"""The next step of a Job, decided from what is known and nothing else.

    pods that have ended ─► noted in status.uncountedTerminatedPods ─► their finalizer is taken away ─► counted
    running ones, and the counts ─► too many failures, or too long: fail | enough: complete | else: more pods, or fewer

A pod carries a finalizer until it has been noted, so that none is counted twice or not at all, whoever deletes it and
whenever this process ends. First comes FailureTarget or SuccessCriteriaMet, then, when the last pod is gone, Failed or
Complete.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controlplane.controllers.job.indexes import format_indexes, index_of, parse_indexes
from controlplane.controllers.pods import is_active, is_ready, is_terminal
from kubeapi.meta import get_condition, is_true, replace, set_condition
from kubeapi.tasks import Backoff
from kubeapi.types.batch_v1 import Job, JobCondition, JobStatus, UncountedTerminatedPods
from kubeapi.types.core_v1 import Pod

TRACKING = "batch.kubernetes.io/job-tracking"
FAILURES = Backoff(first=10.0, most=600.0, jitter=0.0)
BURST = 500


@dataclass(frozen=True, slots=True)
class JobPlan:
    status: JobStatus
    """To be written before anything else is done."""
    release: list[Pod] = field(default_factory=list)
    """Noted in the status: their finalizer may go."""
    create: list[int] = field(default_factory=list)
    """Completion indexes; of a Job without indexes, -1 for each pod."""
    remove: list[Pod] = field(default_factory=list)
    """To be deleted without counting: too many, or suspended."""
    abort: list[Pod] = field(default_factory=list)
    """To be deleted, because the Job has its result."""
    look_again: float | None = None
    expired: bool = False
    """Finished, and ttlSecondsAfterFinished ago: the Job itself goes."""


def is_indexed(job: Job) -> bool:
    return job.spec.completion_mode == "Indexed"


def finished_at(job: Job) -> datetime | None:
    for type_ in ("Complete", "Failed"):
        condition = get_condition(job.status.conditions, type_)
        if condition is not None and condition.status == "True":
            return condition.last_transition_time
    return None


def has_failed(pod: Pod, job: Job) -> bool:
    """A pod that is being deleted will not succeed any more, unless the Job wants to wait and see."""
    if pod.status.phase == "Failed":
        return True
    waits = job.spec.pod_replacement_policy == "Failed"
    return not waits and pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded"


def plan(job: Job, pods: Sequence[Pod], now: datetime) -> JobPlan:
    """`pods` are the Job's own, as the cache shows them after our own last writes."""
    ended = finished_at(job)
    if ended is not None:
        return _after(job, pods, ended, now)
    counted = _count(job, pods)
    status = counted.status
    suspended = bool(job.spec.suspend)
    if not suspended and status.start_time is None:
        status = replace(status, start_time=now)
    active = [p for p in pods if is_active(p)]
    going = [p for p in pods if p.metadata.deletion_timestamp is not None and not is_terminal(p)]
    status = replace(status, active=len(active), ready=sum(1 for p in active if is_ready(p)), terminating=len(going))
    verdict = _verdict(job, status, counted, active, now)
    if verdict is not None:
        return _end(job, verdict, status, counted, active, going, now)
    status = replace(status, conditions=_suspension(job, status.conditions, now))
    if suspended:
        return JobPlan(replace(status, start_time=None), counted.release, remove=active)
    create, remove = _sized(job, status, counted, active, going, pods)
    waits = []
    if create and (delay := _backoff(pods, job, now)) > 0:
        create, waits = [], [delay]
    if job.spec.active_deadline_seconds is not None and status.start_time is not None:
        waits.append(job.spec.active_deadline_seconds - (now - status.start_time).total_seconds())
    return JobPlan(status, counted.release, create, remove, look_again=min(waits, default=None))


# ------------------------------------------------------------------ counting


@dataclass(frozen=True, slots=True)
class _Counted:
    status: JobStatus
    release: list[Pod]
    succeeded: int
    """Those noted and not yet counted included."""
    failed: int
    completed: frozenset[int]


def _count(job: Job, pods: Sequence[Pod]) -> _Counted:
    old = job.status
    held = {p.metadata.uid: p for p in pods if TRACKING in p.metadata.finalizers}
    noted = old.uncounted_terminated_pods or UncountedTerminatedPods()
    succeeded = old.succeeded + sum(1 for uid in noted.succeeded if uid not in held)
    failed = old.failed + sum(1 for uid in noted.failed if uid not in held)
    good = [uid for uid in noted.succeeded if uid in held]
    bad = [uid for uid in noted.failed if uid in held]
    limit = job.spec.completions or 0
    completed = parse_indexes(old.completed_indexes, limit)
    release = [held[uid] for uid in (*good, *bad)]
    for uid, pod in held.items():
        if uid in good or uid in bad:
            continue
        if pod.status.phase == "Succeeded":
            if is_indexed(job):
                index = index_of(pod)
                if index is not None and index < limit:
                    completed.add(index)
            else:
                good.append(uid)
            release.append(pod)
        elif has_failed(pod, job):
            bad.append(uid)
            release.append(pod)
    if is_indexed(job):
        succeeded = len(completed)
    uncounted = UncountedTerminatedPods(succeeded=good, failed=bad)
    status = replace(
        old,
        succeeded=succeeded,
        failed=failed,
        completed_indexes=format_indexes(completed) if is_indexed(job) else "",
        uncounted_terminated_pods=uncounted,
    )
    return _Counted(status, release, succeeded + len(good), failed + len(bad), frozenset(completed))


# ------------------------------------------------------------------ the result


@dataclass(frozen=True, slots=True)
class _Verdict:
    failed: bool
    reason: str
    message: str


def _verdict(job: Job, status: JobStatus, counted: _Counted, active: Sequence[Pod], now: datetime) -> _Verdict | None:
    for type_, failed in (("FailureTarget", True), ("SuccessCriteriaMet", False)):
        known = get_condition(status.conditions, type_)
        if known is not None and known.status == "True":
            return _Verdict(failed, known.reason, known.message)
    limit = 6 if job.spec.backoff_limit is None else job.spec.backoff_limit
    if counted.failed > limit or _restarted_too_often(job, active, limit):
        return _Verdict(True, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
    deadline = job.spec.active_deadline_seconds
    runs_since = status.start_time if not job.spec.suspend else None
    if deadline is not None and runs_since is not None and now - runs_since >= timedelta(seconds=deadline):
        return _Verdict(True, "DeadlineExceeded", "Job was active longer than specified deadline")
    wanted = job.spec.completions
    done = counted.succeeded >= wanted if wanted is not None else counted.succeeded > 0 and not active
    if done:
        return _Verdict(False, "CompletionsReached", "Reached expected number of succeeded pods")
    return None


def _restarted_too_often(job: Job, active: Sequence[Pod], limit: int) -> bool:
    """With OnFailure the node's agent tries again in the same pod."""
    if job.spec.template.spec.restart_policy != "OnFailure":
        return False
    restarts = sum(
        c.restart_count
        for p in active
        if p.status.phase in ("Running", "Pending")
        for c in (*p.status.init_container_statuses, *p.status.container_statuses)
    )
    return restarts > 0 if limit == 0 else restarts >= limit


def _end(
    job: Job,
    verdict: _Verdict,
    status: JobStatus,
    counted: _Counted,
    active: list[Pod],
    going: Sequence[Pod],
    now: datetime,
) -> JobPlan:
    """First the intention and the end of all pods; when nothing is left to be counted, the result."""

    def put(type_: str) -> JobStatus:
        condition = JobCondition(
            type=type_, status="True", reason=verdict.reason, message=verdict.message, last_probe_time=now
        )
        if is_true(status.conditions, type_):
            return status
        return replace(status, conditions=set_condition(status.conditions, condition, now))

    status = put("FailureTarget" if verdict.failed else "SuccessCriteriaMet")
    open_ = status.uncounted_terminated_pods
    if active or going or (open_ is not None and (open_.succeeded or open_.failed)):
        return JobPlan(status, counted.release, abort=active)
    status = replace(
        put("Failed" if verdict.failed else "Complete"),
        completion_time=None if verdict.failed else now,
        uncounted_terminated_pods=UncountedTerminatedPods(),
    )
    ttl = job.spec.ttl_seconds_after_finished
    return JobPlan(status, counted.release, look_again=float(ttl) if ttl is not None else None)


def _after(job: Job, pods: Sequence[Pod], ended: datetime, now: datetime) -> JobPlan:
    release = [p for p in pods if TRACKING in p.metadata.finalizers]
    ttl = job.spec.ttl_seconds_after_finished
    if ttl is None:
        return JobPlan(job.status, release)
    left = ttl - (now - ended).total_seconds()
    return JobPlan(job.status, release, look_again=left if left > 0 else None, expired=left <= 0)


# ------------------------------------------------------------------ more pods, or fewer


def _sized(
    job: Job,
    status: JobStatus,
    counted: _Counted,
    active: Sequence[Pod],
    going: Sequence[Pod],
    pods: Sequence[Pod],
) -> tuple[list[int], list[Pod]]:
    parallel = 1 if job.spec.parallelism is None else job.spec.parallelism
    wanted = job.spec.completions
    if wanted is None:
        size = len(active) if counted.succeeded else parallel
        size = min(size, parallel)
    else:
        size = min(parallel, wanted - counted.succeeded)
    waits_for = len(going) if job.spec.pod_replacement_policy == "Failed" else 0
    remove: list[Pod] = []
    if is_indexed(job):
        kept: dict[int, Pod] = {}
        for pod in sorted(active, key=_keep_first):
            index = index_of(pod)
            useless = index is None or index in kept or index in counted.completed or index >= (wanted or 0)
            if useless or index is None:
                remove.append(pod)
            else:
                kept[index] = pod
        remove.extend(pod for pod in list(kept.values())[max(0, size) :])
        taken = kept.keys() | counted.completed
        if waits_for:
            taken |= {index for p in going if (index := index_of(p)) is not None}
        free = [index for index in range(wanted or 0) if index not in taken]
        return free[: max(0, min(size - len(kept) - waits_for, BURST))], remove
    remove.extend(sorted(active, key=_keep_first)[max(0, size) :])
    return [-1] * max(0, min(size - len(active) - waits_for, BURST)), remove


def _keep_first(pod: Pod) -> tuple[object, ...]:
    created = pod.metadata.creation_timestamp
    return (not is_ready(pod), not pod.spec.node_name, created.timestamp() if created else 0.0, pod.metadata.name)


def _backoff(pods: Sequence[Pod], job: Job, now: datetime) -> float:
    """Seconds to wait after the last of the failures in a row; known from the pods themselves, so no restart forgets."""
    ended = sorted(
        (
            (_ended_at(p), p.status.phase == "Succeeded")
            for p in pods
            if p.status.phase == "Succeeded" or has_failed(p, job)
        ),
        key=lambda entry: entry[0],
    )
    failures = 0
    for _, good in reversed(ended):
        if good:
            break
        failures += 1
    if not failures:
        return 0.0
    return FAILURES.delay(failures - 1, None) - (now - ended[-1][0]).total_seconds()


def _ended_at(pod: Pod) -> datetime:
    moments = [
        c.state.terminated.finished_at
        for c in pod.status.container_statuses
        if c.state.terminated is not None and c.state.terminated.finished_at is not None
    ]
    ready = get_condition(pod.status.conditions, "Ready")
    last = ready.last_transition_time if ready is not None else None
    found = max(moments, default=None) or pod.metadata.deletion_timestamp or last or pod.metadata.creation_timestamp
    assert found is not None
    return found


def _suspension(job: Job, conditions: list[JobCondition], now: datetime) -> list[JobCondition]:
    was = is_true(conditions, "Suspended")
    if job.spec.suspend and not was:
        new = JobCondition(type="Suspended", status="True", reason="JobSuspended", message="Job suspended")
    elif not job.spec.suspend and was:
        new = JobCondition(type="Suspended", status="False", reason="JobResumed", message="Job resumed")
    else:
        return conditions
    return set_condition(conditions, replace(new, last_probe_time=now), now)


def orphans(pods: Collection[Pod], uid: str) -> list[Pod]:
    """Those that wait for a Job which is gone (empty uid), or was another."""
    return [p for p in pods if not any(ref.controller and ref.uid == uid for ref in p.metadata.owner_references)]
