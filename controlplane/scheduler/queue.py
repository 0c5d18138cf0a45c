"""The pods that want a node: active, in backoff, or unschedulable until something in the cluster changes.

add ──► active ──pop──► decided ──┬─ bound
         ▲  ▲                     ├─ fail:  unschedulable ──wake──┐
         │  └──── backoff over ◄──┼─ retry: backoff ◄─────────────┘ (if its backoff is not over yet)
         └── leftover after a while
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass

from kubeapi.clock import Clock
from kubeapi.tasks import Backoff
from kubeapi.types.core_v1 import Pod

BACKOFF = Backoff(first=1.0, most=10.0, jitter=0.0)
LEFTOVER = 300.0
"""Seconds after which an unschedulable pod is tried again without a reason."""


@dataclass(slots=True)
class Waiting:
    pod: Pod
    number: int
    """Order of arrival: the older goes first among equals."""
    failures: int = 0
    ready_at: float = 0.0
    """Not to be tried before."""
    place: str = "active"
    """active, backoff, unschedulable, or out (popped)."""


class SchedulingQueue:
    _pods: dict[str, Waiting]
    """By uid: every pod that has no node, those being decided about or bound included."""
    _heap: list[tuple[int, int, str]]
    """(-priority, number, uid) of active pods; may hold stale entries, which pop skips."""

    def __init__(self, *, clock: Clock, backoff: Backoff = BACKOFF, leftover: float = LEFTOVER) -> None:
        self._clock = clock
        self._backoff = backoff
        self._leftover = leftover
        self._pods = {}
        self._heap = []
        self._numbers = 0
        self._wake = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def put(self, pod: Pod) -> None:
        """New, or changed. A change of its spec lets an unschedulable pod try again."""
        uid = pod.metadata.uid
        found = self._pods.get(uid)
        if found is None:
            self._numbers += 1
            self._pods[uid] = found = Waiting(pod, self._numbers)
            self._activate(found)
            return
        changed = (found.pod.spec, found.pod.metadata.labels) != (pod.spec, pod.metadata.labels)
        found.pod = pod
        if changed and found.place == "unschedulable":
            self._resume(found)

    def remove(self, uid: str) -> None:
        self._pods.pop(uid, None)
        self._cancel(uid)

    async def pop(self) -> Pod:
        """The most important pod; it stays known until remove, fail or retry."""
        while True:
            while self._heap:
                _, _, uid = heapq.heappop(self._heap)
                found = self._pods.get(uid)
                if found is not None and found.place == "active":
                    found.place = "out"
                    return found.pod
            self._wake.clear()
            await self._wake.wait()

    def fail(self, uid: str) -> None:
        """No node suits: wait for a change."""
        found = self._pods.get(uid)
        if found is not None:
            self._delay(found)
            found.place = "unschedulable"
            self._timer(uid, self._leftover)

    def wait(self, uid: str) -> None:
        """Something was begun that will bring a change soon: no failure, no backoff."""
        found = self._pods.get(uid)
        if found is not None:
            found.place, found.ready_at = "unschedulable", 0.0
            self._timer(uid, self._leftover)

    def retry(self, uid: str) -> None:
        """The decision could not be carried out: try again after the backoff."""
        found = self._pods.get(uid)
        if found is not None:
            self._delay(found)
            self._resume(found)

    def wake(self) -> None:
        """The cluster has changed in a way that may help."""
        for found in list(self._pods.values()):
            if found.place == "unschedulable":
                self._resume(found)

    def _delay(self, found: Waiting) -> None:
        now = self._clock.monotonic()
        found.ready_at = now + self._backoff.delay(found.failures, None)
        found.failures += 1

    def _resume(self, found: Waiting) -> None:
        left = found.ready_at - self._clock.monotonic()
        if left <= 0:
            self._activate(found)
        else:
            found.place = "backoff"
            self._timer(found.pod.metadata.uid, left)

    def _activate(self, found: Waiting) -> None:
        uid = found.pod.metadata.uid
        self._cancel(uid)
        found.place = "active"
        heapq.heappush(self._heap, (-(found.pod.spec.priority or 0), found.number, uid))
        self._wake.set()

    def _timer(self, uid: str, delay: float) -> None:
        self._cancel(uid)
        self._timers[uid] = asyncio.get_running_loop().call_later(delay, self._due, uid)

    def _due(self, uid: str) -> None:
        found = self._pods.get(uid)
        if found is not None and found.place in ("backoff", "unschedulable"):
            self._activate(found)

    def _cancel(self, uid: str) -> None:
        timer = self._timers.pop(uid, None)
        if timer is not None:
            timer.cancel()
