"""The one writer of pod statuses on this node. The newest status of a pod wins; what waits goes out as one batch.

put() ── latest per pod ── run(): batch of updates at the known version ── Conflict? read, merge, again

What a pod is on its way through (its sandbox stands, its containers are being made) may wait a tenth of a second: most
pods have passed it by then, and one status is written in place of three.
"""

import asyncio
import logging
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from kubeapi.client.interface import Client, Write
from kubeapi.errors import ApiError, Conflict, NotFound
from kubeapi.logs import about
from kubeapi.tasks import Backoff
from kubeapi.types.core_v1 import Pod, PodStatus
from node_agent.pod_status import OURS

AGAIN = Backoff(first=0.1, most=2.0)
"""No longer than a lease waits: after an outage, endpoints are as old as the statuses."""
PATIENCE = 0.1
"""Seconds for which a passing status may wait for the next one."""


@dataclass(slots=True)
class _Entry:
    pod: Pod
    """The newest state of the object that we have seen: its version is the one we write at."""
    wanted: PodStatus
    version: int = 0
    """Counts the statuses wanted; `written` reaches it when the server has the newest."""
    written: int = -1
    answered: int = 0
    """The object's version when the server took or refused our newest status: what is newer is others' doing."""


class StatusWriter:
    _entries: dict[str, _Entry]
    """By pod UID; kept until forget()."""

    def __init__(
        self, client: Client, *, rng: Random, log: logging.Logger, backoff: Backoff | None = None, batch: int = 200
    ) -> None:
        self._client = client
        self._rng = rng
        self._log = log
        self._backoff = backoff or AGAIN
        self._batch = batch
        self._entries = {}
        self._dirty: dict[str, None] = {}
        self._patient: dict[str, float] = {}
        """UIDs that may wait, and until when by the loop's clock; in the order of these times, and none is dirty."""
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()

    def put(self, pod: Pod, status: PodStatus, *, passing: bool = False) -> None:
        """`passing`: it is likely to be another one soon, and nobody waits for it."""
        uid = pod.metadata.uid
        entry = self._entries.get(uid)
        if entry is None:
            entry = self._entries[uid] = _Entry(pod, pod.status)
            if pod.status == status:
                entry.written = 0
                return
        elif _version(pod) >= _version(entry.pod):
            entry.pod = pod
        if entry.wanted == status and entry.version and (self._waits(uid) or not _overwritten(entry)):
            return
        entry.wanted = status
        entry.version += 1
        if uid in self._dirty:
            return
        if passing:
            self._patient.setdefault(uid, asyncio.get_running_loop().time() + PATIENCE)
        else:
            self._patient.pop(uid, None)
            self._dirty[uid] = None
        self._wake.set()

    def _waits(self, uid: str) -> bool:
        return uid in self._dirty or uid in self._patient

    async def settle(self, uid: str) -> None:
        """Waits until the server has the newest status of this pod, or the pod is gone."""
        if self._patient.pop(uid, None) is not None:
            self._dirty[uid] = None
            self._wake.set()
        async with self._settled:
            await self._settled.wait_for(lambda: uid not in self._dirty)

    def forget(self, uid: str) -> None:
        self._entries.pop(uid, None)
        self._dirty.pop(uid, None)
        self._patient.pop(uid, None)

    async def run(self) -> None:
        failures = 0
        while True:
            due = next(iter(self._patient.values()), None)
            now = 0.0
            try:
                async with asyncio.timeout_at(due):
                    await self._wake.wait()
            except TimeoutError:
                now = due or now  # a loop may call a hair too early: then it is not yet that late by its clock
            self._wake.clear()
            self._end_patience(max(now, asyncio.get_running_loop().time()))
            while self._dirty:
                try:
                    await self._flush()
                    failures = 0
                except (ApiError, OSError) as error:
                    if not failures:
                        self._log.warning("cannot write pod statuses, trying again: %s", error)
                    failures += 1
                    await asyncio.sleep(self._backoff.delay(failures - 1, self._rng))

    def _end_patience(self, now: float) -> None:
        for uid in [uid for uid, due in self._patient.items() if due <= now]:
            del self._patient[uid]
            self._dirty[uid] = None

    async def _flush(self) -> None:
        taken = [(uid, self._entries[uid]) for uid in list(self._dirty)[: self._batch] if uid in self._entries]
        versions = [entry.version for _, entry in taken]
        writes = [
            Write("update", replace(e.pod, status=e.wanted), subresource="status", namespace=e.pod.metadata.namespace)
            for _, e in taken
        ]
        results = await self._client.batch(writes)
        passing: Exception | None = None
        for (uid, entry), version, result in zip(taken, versions, results, strict=True):
            if result.object is not None:
                entry.pod = result.object if _version(result.object) > _version(entry.pod) else entry.pod
                entry.written = version
                entry.answered = _version(result.object)
            elif isinstance(result.error, NotFound):
                entry.version = version
            elif isinstance(result.error, Conflict):
                if await self._refresh(entry):
                    continue
            elif isinstance(result.error, ApiError) and result.error.http in (400, 403, 413, 422):
                self._log.error("the status of a pod was refused: %s", result.error, extra=about(entry.pod))
                entry.answered = _version(entry.pod)
            else:
                passing = result.error
                continue
            if entry.version == version:
                self._dirty.pop(uid, None)
        async with self._settled:
            self._settled.notify_all()
        if passing is not None:
            raise passing

    async def _refresh(self, entry: _Entry) -> bool:
        """Takes over what others changed meanwhile. False: the pod is another one now, or none."""
        meta = entry.pod.metadata
        try:
            fresh = await self._client.get(Pod, meta.name, meta.namespace)
        except NotFound:
            return False
        if fresh.metadata.uid != meta.uid:
            return False
        entry.pod = fresh
        theirs = [c for c in fresh.status.conditions if c.type not in OURS]
        ours = [c for c in entry.wanted.conditions if c.type in OURS]
        entry.wanted = replace(entry.wanted, conditions=[*ours, *theirs])
        return True


def _overwritten(entry: _Entry) -> bool:
    """Whether somebody has changed conditions that are ours since we wrote them, as the node lifecycle controller does
    while it hears nothing of us. Within one second their times do not show it.
    """
    if _version(entry.pod) <= entry.answered:
        return False
    said = {c.type: c.status for c in entry.pod.status.conditions}
    return any(said.get(c.type) != c.status for c in entry.wanted.conditions if c.type in OURS)


def _version(pod: Pod) -> int:
    return int(pod.metadata.resource_version or 0)
