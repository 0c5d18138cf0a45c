"""Since when a Service's endpoint slices are due: the moment of the first change that they do not show yet.

It goes into the slices as an annotation, from which every node works out how long the change took to become rules
(kubeproxy_network_programming_duration_seconds).

A pod tells when it became ready, but in whole seconds, and here that second may be longer than all that follows. So
a transition of this very second counts from when we saw it: some milliseconds too short, never a second too long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from kubeapi.client.keys import Key
from kubeapi.types.core_v1 import Pod, Service

ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"
SECOND = timedelta(seconds=1)


class Triggers:
    _due: dict[Key, datetime]
    """By service: the oldest change that no visit has carried out."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._due = {}

    def pod_changed(self, services: Iterable[Key], old: Pod | None, new: Pod | None) -> None:
        at = change_of(old, new, self._now())
        if at is not None:
            for key in services:
                self.put(key, at)

    def service_changed(self, key: Key, old: Service | None, new: Service | None) -> None:
        if new is not None and (old is None or (old.spec, old.metadata.labels) != (new.spec, new.metadata.labels)):
            self.put(key, self._now())

    def put(self, key: Key, at: datetime | None) -> None:
        if at is not None:
            self._due[key] = min(at, self._due.get(key, at))

    def take(self, key: Key) -> datetime | None:
        """Whoever fails to carry it out puts it back."""
        return self._due.pop(key, None)


def change_of(old: Pod | None, new: Pod | None, now: datetime) -> datetime | None:
    """When that happened of which endpoints must tell; None: they need not."""
    if new is None:
        return now if old is not None and old.metadata.deletion_timestamp is None else None
    if (ready_before := _ready(old)) != (ready := _ready(new)):
        return seen(ready[1] or ready_before[1], now)
    if old is not None and _shown(old) != _shown(new):
        return now
    return None


def seen(at: datetime | None, now: datetime) -> datetime:
    """`at` is told in whole seconds."""
    return now if at is None or now - at < SECOND else at


def _ready(pod: Pod | None) -> tuple[bool, datetime | None]:
    found = next((c for c in pod.status.conditions if c.type == "Ready"), None) if pod is not None else None
    return (False, None) if found is None else (found.status == "True", found.last_transition_time)


def _shown(pod: Pod) -> tuple[object, ...]:
    return (pod.status.pod_ip, pod.status.phase, pod.metadata.labels, pod.metadata.deletion_timestamp is None)


def annotated(annotations: Mapping[str, str], since: datetime | None) -> dict[str, str]:
    kept = {name: value for name, value in annotations.items() if name != ANNOTATION}
    return kept if since is None else kept | {ANNOTATION: since.isoformat().replace("+00:00", "Z")}
