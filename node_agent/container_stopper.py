"""Ends containers: preStop, TERM, and KILL when the grace is over; a pod's apps all at once, then its sidecars one by one."""

import asyncio

from kubeapi.types.core_v1 import Pod
from node_agent.checks import Target
from node_agent.container_starter import HOOK_LIMIT
from node_agent.parts import Parts
from node_agent.pod_events import PodEvents
from node_agent.pod_plan import Observed, is_sidecar, wishes_of
from node_agent.runtimes.interface import Container

DEFAULT_GRACE = 30.0
LEAST_GRACE = 1.0


class ContainerStopper:
    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._events = PodEvents(parts.events)

    async def stop_all(self, pod: Pod, observed: Observed, *, pod_ip: str) -> None:
        """Apps first, all at once; then the sidecars, in reverse order."""
        grace = grace_of(pod)
        sidecars = [w.name for w in pod.spec.init_containers if is_sidecar(w)]
        running = [c for c in observed.containers if c.state == "running" and c.kind != "sandbox"]
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        async with asyncio.TaskGroup() as tasks:
            for container in running:
                if container.name not in sidecars:
                    self._say_killing(pod, container.name)
                    tasks.create_task(self.stop(pod, container, observed, pod_ip=pod_ip, grace=grace))
        for name in reversed(sidecars):
            for container in running:
                if container.name == name:
                    left = max(LEAST_GRACE, end - loop.time())
                    self._say_killing(pod, name)
                    await self.stop(pod, container, observed, pod_ip=pod_ip, grace=left)

    async def stop(self, pod: Pod, container: Container, observed: Observed, *, pod_ip: str, grace: float) -> None:
        """preStop and TERM share the grace; the process always gets a moment after TERM."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wish = wishes_of(pod).get(container.name)
        if grace > 0 and wish is not None and wish.lifecycle is not None and wish.lifecycle.pre_stop is not None:
            sandbox = observed.sandbox()
            target = Target(container, wish, pod_ip, sandbox.pid if sandbox else 0)
            verdict = await self._parts.checker.check(
                "preStop", wish.lifecycle.pre_stop, target, timeout=min(grace, HOOK_LIMIT)
            )
            if not verdict.good:
                text = f"PreStopHook failed: {verdict.text}"
                self._events.warn(pod, "FailedPreStopHook", text, container=container.name)
        left = grace - (loop.time() - begun)
        with self._parts.metrics.runtime_operation("stop_container"):
            await self._parts.runtime.stop(container.id, grace=max(left, min(grace, LEAST_GRACE)))

    def _say_killing(self, pod: Pod, name: str) -> None:
        self._events.say(pod, "Killing", f"Stopping container {name}", container=name)


def grace_of(pod: Pod) -> float:
    """Seconds that each container has to end when the pod ends."""
    asked = pod.metadata.deletion_grace_period_seconds
    if pod.metadata.deletion_timestamp is not None and asked is not None:
        return max(float(asked), LEAST_GRACE)
    wished = pod.spec.termination_grace_period_seconds
    return max(DEFAULT_GRACE if wished is None else float(wished), LEAST_GRACE)


def grace_of_restart(pod: Pod, container: Container, observed: Observed) -> float:
    """A failed probe may name a grace of its own."""
    wish = wishes_of(pod).get(container.name)
    report = observed.probes.get(container.id)
    if wish is not None and report is not None and report.failed:
        for probe in (wish.liveness_probe, wish.startup_probe):
            if probe is not None and probe.termination_grace_period_seconds is not None:
                return float(probe.termination_grace_period_seconds)
    return grace_of(pod)
