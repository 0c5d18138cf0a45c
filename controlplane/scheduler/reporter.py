"""Writes into pods why they have no node, and which node they were promised: one writer, the newest report only."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from random import Random
from typing import Any

from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, BadRequest, Conflict, Forbidden, Invalid, NotFound
from kubeapi.logs import about
from kubeapi.meta import get_condition
from kubeapi.tasks import Backoff
from kubeapi.types.core_v1 import Pod

AGAIN = Backoff(first=0.5, most=15.0)
AT_ONCE = 8
"""Reports on their way."""


@dataclass(frozen=True, slots=True)
class Report:
    pod: Pod
    reason: str = ""
    """Unschedulable, SchedulingGated or SchedulerError. Empty: the condition stays as it is."""
    message: str = ""
    nominated: str | None = None
    """The node promised; empty takes the promise back; None leaves it."""


def needed(report: Report) -> bool:
    """Whether it says anything new."""
    pod = report.pod
    if report.nominated is not None and report.nominated != pod.status.nominated_node_name:
        return True
    if not report.reason:
        return False
    held = get_condition(pod.status.conditions, "PodScheduled")
    return held is None or (held.status, held.reason, held.message) != ("False", report.reason, report.message)


def patch_of(report: Report, now: str) -> dict[str, Any]:
    status: dict[str, Any] = {}
    if report.reason:
        held = get_condition(report.pod.status.conditions, "PodScheduled")
        kept = held.last_transition_time if held is not None and held.status == "False" else None
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": report.reason,
                "message": report.message,
                "lastTransitionTime": kept.isoformat().replace("+00:00", "Z") if kept is not None else now,
            }
        ]
    if report.nominated is not None:
        status["nominatedNodeName"] = report.nominated or None
    return {"metadata": {"uid": report.pod.metadata.uid}, "status": status}


class Reporter:
    _waiting: dict[str, Report]
    """By uid of the pod."""

    def __init__(self, client: Client, *, clock: Clock, rng: Random, log: logging.Logger) -> None:
        self._client = client
        self._clock = clock
        self._rng = rng
        self._log = log
        self._waiting = {}
        self._wake = asyncio.Event()

    def report(self, report: Report) -> None:
        uid = report.pod.metadata.uid
        held = self._waiting.get(uid)
        if held is not None and report.nominated is None and held.nominated is not None:
            report = Report(report.pod, report.reason, report.message, held.nominated)
        if needed(report):
            self._waiting[uid] = report
            self._wake.set()

    def forget(self, uid: str) -> None:
        self._waiting.pop(uid, None)

    def now(self) -> str:
        return self._clock.now().replace(microsecond=0).isoformat().replace("+00:00", "Z")

    async def run(self) -> None:
        failures = 0
        while True:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
            taken = [self._waiting.pop(uid) for uid in list(self._waiting)[:AT_ONCE]]
            well = await asyncio.gather(*(self._tell(report) for report in taken))
            if all(well):
                failures = 0
                continue
            await asyncio.sleep(AGAIN.delay(failures, self._rng))
            failures += 1

    async def _tell(self, report: Report) -> bool:
        """False: the server cannot take it now, and it waits again unless a newer one does."""
        meta = report.pod.metadata
        try:
            await self._client.patch(
                Pod,
                meta.name,
                patch_of(report, self.now()),
                kind="strategic",
                namespace=meta.namespace,
                subresource="status",
            )
        except (NotFound, Conflict):
            return True
        except (BadRequest, Forbidden, Invalid) as error:
            self._log.warning("a report on a pod was refused: %s", error, extra=about(report.pod))
            return True
        except (ApiError, OSError) as error:
            self._log.warning("cannot report on a pod now: %s", error, extra=about(report.pod))
            self._waiting.setdefault(meta.uid, report)
            return False
        return True
