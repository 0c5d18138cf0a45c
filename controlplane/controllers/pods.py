"""What controllers ask of a pod."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from kubeapi.meta import get_condition, is_true
from kubeapi.types.core_v1 import Pod

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_terminal(pod: Pod) -> bool:
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    return not is_terminal(pod) and pod.metadata.deletion_timestamp is None


def is_ready(pod: Pod) -> bool:
    return is_true(pod.status.conditions, "Ready")


def available_at(pod: Pod, min_ready_seconds: int) -> datetime | None:
    """When the pod counts, or will count, as available; None while it is not ready."""
    condition = get_condition(pod.status.conditions, "Ready")
    if condition is None or condition.status != "True":
        return None
    since = condition.last_transition_time or EPOCH
    return since + timedelta(seconds=min_ready_seconds)


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    at = available_at(pod, min_ready_seconds)
    return at is not None and (min_ready_seconds == 0 or at <= now)


def by_uid(pods: Iterable[Pod]) -> dict[str, Pod]:
    return {pod.metadata.uid: pod for pod in pods}
