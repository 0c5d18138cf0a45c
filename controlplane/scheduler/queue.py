"""The pods that want a node: active, in backoff, or unschedulable until something in the cluster changes.

    add ──► active ──pop──► decided ──┬─ bound
             ▲  ▲                     ├─ fail:  unschedulable ──wake──┐
             │  └──── backoff over ◄──┼─ retry: backoff ◄─────────────┘ (if its backoff is not over yet)
             └── leftover after a while

Unschedulable pods lie in groups by what stands in their way, so that a change of the cluster is held against a few
reasons and not against thousands of pods. Whoever pops decides without waiting, or says fail, wait or retry before
it waits: so no change falls between a decision and its being filed.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass

from controlplane.scheduler.hints import Change, Why, helps
from kubeapi.clock import Clock
from kubeapi.tasks import Backoff
from kubeapi.types.core_v1 import Pod

BACKOFF = Backoff(first=1.0, most=10.0, jitter=0.0)
UNKNOWN = Why()
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
    why: Why | None = None
    """Of an unschedulable pod."""
    since: float = 0.0
    """When it came into the queue."""


class SchedulingQueue:
    _pods: dict[str, Waiting]
    """By uid: every pod that has no node, those being decided about or bound included."""
    _heap: list[tuple[int, int, str]]
    """(-priority, number, uid) of active pods; may hold stale entries, which pop skips."""
    _groups: dict[Why, dict[str, None]]
    """The uids of the unschedulable pods, by reason; no reason without a pod."""

    def __init__(self, *, clock: Clock, backoff: Backoff = BACKOFF, leftover: float = LEFTOVER) -> None:
        self._clock = clock
        self._backoff = backoff
        self._leftover = leftover
        self._pods = {}
        self._heap = []
        self._groups = {}
        self._numbers = 0
        self._wake = asyncio.Event()
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def __len__(self) -> int:
        return len(self._pods)

    def refused(self) -> dict[str, int]:
        """Unschedulable pods by the filters that stand in their way."""
        found: dict[str, int] = {}
        for why, uids in self._groups.items():
            for plugin in why.plugins:
                found[plugin] = found.get(plugin, 0) + len(uids)
        return found

    def put(self, pod: Pod) -> None:
        """New, or changed. A change of its spec lets an unschedulable pod try again."""
        uid = pod.metadata.uid
        found = self._pods.get(uid)
        if found is None:
            self._numbers += 1
            self._pods[uid] = found = Waiting(pod, self._numbers, since=self._clock.monotonic())
            self._activate(found)
            return
        changed = (found.pod.spec, found.pod.metadata.labels) != (pod.spec, pod.metadata.labels)
        found.pod = pod
        if changed and found.place == "unschedulable":
            self._resume(found)

    def remove(self, uid: str) -> Waiting | None:
        """It is bound, gone, or no longer ours. Returns what was known of it."""
        found = self._pods.pop(uid, None)
        if found is not None:
            self._leave_group(found)
            self._cancel(uid)
        return found

    async def pop(self) -> Pod:
        """The most important pod; it stays known until remove, fail or retry."""
        while True:
            pod = self.pop_now()
            if pod is not None:
                return pod
            self._wake.clear()
            await self._wake.wait()

    def pop_now(self) -> Pod | None:
        """The same, if there is one now."""
        while self._heap:
            _, _, uid = heapq.heappop(self._heap)
            found = self._pods.get(uid)
            if found is not None and found.place == "active":
                found.place = "out"
                return found.pod
        return None

    def fail(self, uid: str, why: Why = UNKNOWN) -> None:
        """No node suits: wait for a change."""
        found = self._pods.get(uid)
        if found is not None:
            self._delay(found)
            self._shelve(found, why)

    def wait(self, uid: str, why: Why = UNKNOWN) -> None:
        """Something was begun that will bring a change soon: no failure, no backoff."""
        found = self._pods.get(uid)
        if found is not None:
            found.ready_at = 0.0
            self._shelve(found, why)

    def retry(self, uid: str) -> None:
        """The decision could not be carried out: try again after the backoff."""
        found = self._pods.get(uid)
        if found is not None:
            self._delay(found)
            self._resume(found)

    def hurry(self, uid: str) -> None:
        """What was begun for a waiting pod has failed: it is tried again after its backoff. Others stay as they are."""
        found = self._pods.get(uid)
        if found is not None and found.place == "unschedulable":
            self._delay(found)
            self._resume(found)

    def wake(self, change: Change | None = None) -> None:
        """The cluster has changed. None: in a way that may help anybody."""
        for why in [w for w in self._groups if change is None or helps(w, change)]:
            for uid in list(self._groups.get(why, ())):
                self._resume(self._pods[uid])

    def attempts(self, uid: str) -> int:
        found = self._pods.get(uid)
        return found.failures if found is not None else 0

    def counts(self) -> dict[str, int]:
        """Pods by place, for metrics."""
        found = {"active": 0, "backoff": 0, "unschedulable": 0, "out": 0}
        for waiting in self._pods.values():
            found[waiting.place] += 1
        return found

    def _shelve(self, found: Waiting, why: Why) -> None:
        uid = found.pod.metadata.uid
        self._leave_group(found)
        found.place, found.why = "unschedulable", why
        self._groups.setdefault(why, {})[uid] = None
        self._timer(uid, self._leftover)

    def _leave_group(self, found: Waiting) -> None:
        if found.why is not None:
            group = self._groups[found.why]
            del group[found.pod.metadata.uid]
            if not group:
                del self._groups[found.why]
            found.why = None

    def _delay(self, found: Waiting) -> None:
        now = self._clock.monotonic()
        found.ready_at = now + self._backoff.delay(found.failures, None)
        found.failures += 1

    def _resume(self, found: Waiting) -> None:
        self._leave_group(found)
        left = found.ready_at - self._clock.monotonic()
        if left <= 0:
            self._activate(found)
        else:
            found.place = "backoff"
            self._timer(found.pod.metadata.uid, left)

    def _activate(self, found: Waiting) -> None:
        uid = found.pod.metadata.uid
        self._cancel(uid)
        self._leave_group(found)
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
