"""The probes of one pod's running containers: a task for each, results in a table, a nudge when one changes.

Startup gates the other two. A failed startup or liveness probe asks for a restart (ProbeReport.failed); what is done
about it is the plan's business.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random

from kubeapi.types.core_v1 import Probe
from node_agent.checks import Checker, Target
from node_agent.pod_plan import ProbeReport

Notice = Callable[[str, str, str], None]
"""(container, reason, message) of an event about one of the pod's containers."""


class ProbeSet:
    """Owns one task per running container that has probes."""

    reports: dict[str, ProbeReport]
    """By container id, for all that were added and not yet dropped."""

    def __init__(
        self, *, tasks: asyncio.TaskGroup, checker: Checker, changed: Callable[[], None], notice: Notice, rng: Random
    ) -> None:
        self._tasks = tasks
        self._checker = checker
        self._changed = changed
        self._notice = notice
        self._rng = rng
        self._running: dict[str, asyncio.Task[None]] = {}
        self._seasoned: set[str] = set()
        """Ids of containers that had started before this agent did."""
        self.reports = {}

    def watch(self, targets: Mapping[str, Target], known: Mapping[str, ProbeReport] | None = None) -> None:
        """Probes exactly these containers, by id.

        `known`: what was last told of containers that ran before this agent did. They keep it until a probe says
        otherwise, and are not given their initial delay again: a new agent is no reason to take a pod out of service.
        """
        for gone in self.reports.keys() - targets.keys():
            del self.reports[gone]
            self._seasoned.discard(gone)
            if (task := self._running.pop(gone, None)) is not None:
                task.cancel()
        for container_id in targets.keys() - self.reports.keys():
            target = targets[container_id]
            wish = target.wish
            before = (known or {}).get(container_id)
            if before is not None and before.started:
                self._seasoned.add(container_id)
            self.reports[container_id] = ProbeReport(
                started=wish.startup_probe is None or (before is not None and before.started),
                ready=(wish.startup_probe is None and wish.readiness_probe is None)
                or (before is not None and before.ready),
            )
            if wish.startup_probe or wish.readiness_probe or wish.liveness_probe:
                self._running[container_id] = self._tasks.create_task(self._probe(target), name=f"probes-{wish.name}")

    def stop(self) -> None:
        self.watch({})

    async def _probe(self, target: Target) -> None:
        wish = target.wish
        if wish.startup_probe is not None and target.container.id not in self._seasoned:
            if not await self._until_started(wish.startup_probe, target):
                return
            self._set(target, started=True, ready=wish.readiness_probe is None)
        async with asyncio.TaskGroup() as both:
            if wish.readiness_probe is not None:
                both.create_task(self._readiness(wish.readiness_probe, target))
            if wish.liveness_probe is not None:
                both.create_task(self._liveness(wish.liveness_probe, target))

    async def _until_started(self, probe: Probe, target: Target) -> bool:
        bad = 0
        await asyncio.sleep(probe.initial_delay_seconds)
        while True:
            if await self._once("startup", probe, target):
                return True
            bad += 1
            if bad >= (probe.failure_threshold or 3):
                self._set(target, failed="failed startup probe")
                return False
            await asyncio.sleep(probe.period_seconds or 10)

    async def _readiness(self, probe: Probe, target: Target) -> None:
        good = bad = 0
        await asyncio.sleep(self._delay(probe, target))
        while True:
            if await self._once("readiness", probe, target):
                good, bad = good + 1, 0
                if good >= (probe.success_threshold or 1):
                    self._set(target, ready=True)
            else:
                good, bad = 0, bad + 1
                if bad >= (probe.failure_threshold or 3):
                    self._set(target, ready=False)
            await asyncio.sleep(probe.period_seconds or 10)

    async def _liveness(self, probe: Probe, target: Target) -> None:
        bad = 0
        # Spread, so that the containers that one agent restart finds are not all probed in one moment.
        await asyncio.sleep(self._delay(probe, target) + self._rng.random() * min(1, probe.period_seconds or 10))
        while True:
            bad = 0 if await self._once("liveness", probe, target) else bad + 1
            if bad >= (probe.failure_threshold or 3):
                self._set(target, failed="failed liveness probe")
                return
            await asyncio.sleep(probe.period_seconds or 10)

    def _delay(self, probe: Probe, target: Target) -> float:
        return 0 if target.container.id in self._seasoned else probe.initial_delay_seconds

    async def _once(self, kind: str, probe: Probe, target: Target) -> bool:
        verdict = await self._checker.check(kind, probe, target, timeout=probe.timeout_seconds or 1)
        if not verdict.good:
            self._notice(target.wish.name, "Unhealthy", f"{kind.capitalize()} probe failed: {verdict.text}")
        return verdict.good

    def _set(self, target: Target, **fields: object) -> None:
        old = self.reports.get(target.container.id)
        if old is None:
            return
        new = replace(old, **fields)  # type: ignore[arg-type]
        if new != old:
            self.reports[target.container.id] = new
            self._changed()
