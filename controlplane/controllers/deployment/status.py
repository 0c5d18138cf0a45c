"""The status that a Deployment shows, with the conditions and reasons that kubectl waits for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from controlplane.controllers.deployment.rolling import bounds_of
from controlplane.controllers.deployment.sets import replicas
from kubeapi.meta import get_condition, replace, set_condition, without_condition
from kubeapi.types.apps_v1 import Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet

FOREVER = 2**31 - 1


def counts(deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet]) -> DeploymentStatus:
    total = sum(rs.status.replicas for rs in sets)
    available = sum(rs.status.available_replicas for rs in sets)
    return replace(
        deployment.status,
        observed_generation=deployment.metadata.generation,
        replicas=total,
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(rs.status.ready_replicas for rs in sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(replicas(rs) for rs in sets) - available),
    )


def refused(status: DeploymentStatus, message: str, now: datetime) -> DeploymentStatus:
    """The new set could not be made."""
    conditions = _put(status.conditions, "Progressing", "False", "ReplicaSetCreateError", message, now)
    return replace(status, conditions=conditions)


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    wanted = replicas(deployment)
    return status.updated_replicas == wanted == status.replicas == status.available_replicas


def status_of(
    deployment: Deployment, new: ReplicaSet | None, sets: Sequence[ReplicaSet], now: datetime, event: str = ""
) -> DeploymentStatus:
    """`event` is what this visit did: the reason NewReplicaSetCreated or FoundNewReplicaSet."""
    status = counts(deployment, new, sets)
    conditions = status.conditions
    enough = status.available_replicas >= replicas(deployment) - bounds_of(deployment).unavailable
    conditions = _put(
        conditions,
        "Available",
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "Deployment has minimum availability." if enough else "Deployment does not have minimum availability.",
        now,
    )
    conditions = _failure(conditions, sets, now)
    return replace(status, conditions=_progress(deployment, status, conditions, new, now, event))


def _progress(
    deployment: Deployment,
    status: DeploymentStatus,
    conditions: list[DeploymentCondition],
    new: ReplicaSet | None,
    now: datetime,
    event: str,
) -> list[DeploymentCondition]:
    deadline = deployment.spec.progress_deadline_seconds
    if deadline is None or deadline == FOREVER:
        return without_condition(conditions, "Progressing")
    old = get_condition(conditions, "Progressing")
    subject = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if deployment.spec.paused:
        if old is not None and old.reason == "ProgressDeadlineExceeded":
            return conditions
        return _put(conditions, "Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", now)
    if old is not None and old.reason == "DeploymentPaused":
        return _put(conditions, "Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", now)
    if event:
        text = "Created new replica set" if event == "NewReplicaSetCreated" else "Found new replica set"
        name = f' "{new.metadata.name}"' if new is not None else ""
        return _put(conditions, "Progressing", "True", event, text + name, now, fresh=True)
    if old is not None and old.reason == "NewReplicaSetAvailable" and status.replicas == status.updated_replicas:
        return conditions  # rolled out: pods that fail and come back later, or a new size, are no rollout
    if is_complete(deployment, status):
        text = f"{subject} has successfully progressed."
        return _put(conditions, "Progressing", "True", "NewReplicaSetAvailable", text, now)
    if _progressed(deployment, status):
        text = f"{subject} is progressing."
        return _put(conditions, "Progressing", "True", "ReplicaSetUpdated", text, now, fresh=True)
    if timed_out(deployment, now):
        text = f"{subject} has timed out progressing."
        return _put(conditions, "Progressing", "False", "ProgressDeadlineExceeded", text, now)
    return conditions


def _progressed(deployment: Deployment, status: DeploymentStatus) -> bool:
    before = deployment.status
    return (
        status.updated_replicas > before.updated_replicas
        or status.replicas - status.updated_replicas < before.replicas - before.updated_replicas
        or status.ready_replicas > before.ready_replicas
        or status.available_replicas > before.available_replicas
    )


def deadline_in(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Seconds until the rollout counts as stuck; None when it does not run, or is stuck already."""
    limit = deployment.spec.progress_deadline_seconds
    old = get_condition(status.conditions, "Progressing")
    if limit is None or limit == FOREVER or deployment.spec.paused or old is None or old.last_update_time is None:
        return None
    if old.reason in ("NewReplicaSetAvailable", "ProgressDeadlineExceeded"):
        return None
    return limit - (now - old.last_update_time).total_seconds()


def timed_out(deployment: Deployment, now: datetime) -> bool:
    left = deadline_in(deployment, deployment.status, now)
    return left is not None and left <= 0


def _failure(
    conditions: list[DeploymentCondition], sets: Sequence[ReplicaSet], now: datetime
) -> list[DeploymentCondition]:
    for rs in sets:
        failed = get_condition(rs.status.conditions, "ReplicaFailure")
        if failed is not None:
            return _put(conditions, "ReplicaFailure", failed.status, failed.reason, failed.message, now)
    return without_condition(conditions, "ReplicaFailure")


def _put(
    conditions: list[DeploymentCondition],
    type_: str,
    status: str,
    reason: str,
    message: str,
    now: datetime,
    *,
    fresh: bool = False,
) -> list[DeploymentCondition]:
    """Nothing changes when nothing is new, so that a visit without news writes nothing."""
    old = get_condition(conditions, type_)
    if old is not None and (old.status, old.reason, old.message) == (status, reason, message) and not fresh:
        return conditions
    condition = DeploymentCondition(type=type_, status=status, reason=reason, message=message, last_update_time=now)
    return set_condition(conditions, condition, now)
