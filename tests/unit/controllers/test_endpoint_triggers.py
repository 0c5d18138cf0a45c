"""When a change happened that endpoint slices have to show: what nodes measure themselves against."""

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.controllers.endpoints.triggers import ANNOTATION, Triggers, annotated, change_of
from kubeapi.client.keys import Key
from kubeapi.meta import replace
from kubeapi.types.core_v1 import Pod, PodCondition, PodStatus
from kubeapi.types.meta_v1 import ObjectMeta

NOW = datetime(2026, 1, 1, 12, 0, 10, 300_000, tzinfo=UTC)


def pod(ready: bool, ago: int = 0, *, ip: str = "10.0.0.1", going: bool = False) -> Pod:
    at = (NOW - timedelta(seconds=ago)).replace(microsecond=0)
    condition = PodCondition(type="Ready", status=str(ready), last_transition_time=at)
    meta = ObjectMeta(name="p", namespace="d", deletion_timestamp=NOW if going else None)
    return Pod(metadata=meta, status=PodStatus(pod_ip=ip, phase="Running", conditions=[condition]))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (pod(False, 9), pod(True, 0), NOW),  # ready within this second: since we saw it
        (pod(False, 9), pod(True, 4), NOW.replace(microsecond=0) - timedelta(seconds=4)),
        (pod(True, 9), pod(False, 3), NOW.replace(microsecond=0) - timedelta(seconds=3)),
        (pod(True, 9), pod(True, 9), None),
        (pod(True, 9), pod(True, 9, ip="10.0.0.2"), NOW),
        (pod(True, 9), pod(True, 9, going=True), NOW),
        (pod(True, 9, going=True), None, None),  # its going was told already
        (pod(True, 9), None, NOW),
        (None, pod(True, 0), NOW),
    ],
)
def test_the_moment_of_a_change(old: Pod | None, new: Pod | None, expected: datetime | None) -> None:
    assert change_of(old, new, NOW) == expected


def test_of_many_changes_the_first_counts_until_it_is_carried_out() -> None:
    now = NOW
    triggers, key = Triggers(lambda: now), Key("d", "web")
    triggers.pod_changed([key], pod(False), pod(True))
    now += timedelta(seconds=5)
    triggers.pod_changed([key], pod(True), None)
    since = triggers.take(key)
    assert since == NOW and triggers.take(key) is None
    triggers.put(key, since)  # it failed
    triggers.pod_changed([key], pod(True), None)
    assert triggers.take(key) == NOW


def test_an_old_moment_does_not_stay_in_the_annotation() -> None:
    noted = annotated({"mine": "1"}, NOW)
    assert noted == {"mine": "1", ANNOTATION: "2026-01-01T12:00:10.300000Z"}
    assert annotated(noted, None) == {"mine": "1"}
    assert replace(ObjectMeta(), annotations=noted).annotations[ANNOTATION]
