"""One worker per pod UID, from the first time the pod is seen on this node until nothing of it is left.

    syncing ──────────────► terminating ──────────────► terminated
    observe, plan, act,      preStop, TERM, KILL,        deleted in the API: clean up, DELETE with grace 0;
    write the status         sandbox, network            else wait for that, keeping the logs

A pod that is being deleted, is gone from the API, has exceeded its deadline or has ended for good leaves the first
phase for ever. What a sync was doing then (a long image pull, say) is cancelled.
"""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from kubeapi.errors import ApiError, Conflict, NotFound
from kubeapi.logs import concerns, subject_of
from kubeapi.types.core_v1 import Container as ContainerWish
from kubeapi.types.core_v1 import Pod
from node_agent.admission import refusal
from node_agent.checks import Target
from node_agent.container_starter import HOOK_LIMIT, ContainerStarter
from node_agent.last_words import LastWords
from node_agent.parts import Parts
from node_agent.pod_events import PodEvents
from node_agent.pod_plan import Blocked, Observed, Plan, comes_back, is_sidecar, looked_into, plan_pod, restart_at
from node_agent.pod_sandbox import PodSandbox, Unable
from node_agent.pod_status import Circumstances, build_status, recorded_reports
from node_agent.probing import ProbeSet
from node_agent.references import MissingReference
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import Container
from node_agent.volumes import Place

DEFAULT_GRACE = 30.0
LEAST_GRACE = 1.0
REFRESH = 60.0
"""Seconds between two refreshes of ConfigMap, Secret and token files."""
SHOWN = 1.0
"""Seconds for which a fresh image failure is told as such."""
FIRST_RETRY, LONGEST_RETRY = 1.0, 30.0


class Phase(Enum):
    SYNCING = "syncing"
    TERMINATING = "terminating"
    TERMINATED = "terminated"


class PodWorker:
    _pod: Pod
    """The newest state seen in the API."""
    _ending: asyncio.Event
    """Set once, for ever: the pod must not run any more."""
    _hurry: asyncio.Event
    """Set when a shorter grace has been asked for."""
    _containers: Sequence[Container] | None
    """What is on the machine, by the last list and by what we have done since; None: something may have changed."""
    _stirred: int
    """How often something may have changed: a list during which that happens is good for one look only."""

    def __init__(self, pod: Pod, parts: Parts) -> None:
        self.phase = Phase.SYNCING
        self.uid = pod.metadata.uid
        self._pod = pod
        self._parts = parts
        self._starter = ContainerStarter(parts)
        self._events = PodEvents(parts.events)
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = False
        self._containers = None
        self._stirred = 0
        self._blocked: dict[str, Blocked] = {}
        self._probes: ProbeSet | None = None
        self._outcome = Plan()
        self._start_time: datetime | None = pod.status.start_time
        self._sandbox = PodSandbox(parts)
        self._volumes: Mapping[str, Place] | None = None
        self._refreshed = 0.0
        self._failures = 0
        self._last_words = LastWords(parts.runtime, parts.volumes.home(self.uid))
        self._seen = parts.clock.monotonic()
        created = pod.metadata.creation_timestamp
        self._unseen = max(0.0, (parts.clock.now() - created).total_seconds()) if created is not None else 0.0
        """Seconds from its creation until we saw it; less than one is not known, for creation is told in whole ones."""
        self._started_at: float | None = None
        """When all its containers had started; None before, and once it was ready."""
        self._counted = pod.status.phase not in ("", "Pending")
        """Whether its start has been measured; one that ran before we came has no measurable start."""
        self._told: set[str] = set()
        """Ids of containers whose back-off has been told as an event."""
        self.update(pod)

    @property
    def pod(self) -> Pod:
        return self._pod

    @property
    def pod_ip(self) -> str:
        return self._sandbox.ip

    def update(self, pod: Pod) -> None:
        """The object has changed in the API."""
        before, self._pod = self._pod, pod
        if pod.metadata.deletion_timestamp is not None:
            old, new = before.metadata.deletion_grace_period_seconds, pod.metadata.deletion_grace_period_seconds
            if old is not None and new is not None and new < old:
                self._hurry.set()
            self._ending.set()
            self._deleted.set()
        elif pod.status.phase in ("Succeeded", "Failed"):
            self._ending.set()
        self._wake.set()

    def removed(self) -> None:
        """The object is no longer in the API."""
        if self._pod.metadata.deletion_timestamp is not None:
            self._hurry.set()
        self._gone = True
        self._ending.set()
        self._deleted.set()
        self._wake.set()

    def poke(self) -> None:
        """Something may have changed on the machine."""
        self._forget_containers()
        self._wake.set()

    def _forget_containers(self) -> None:
        self._containers = None
        self._stirred += 1

    async def run(self) -> None:
        """Returns when nothing of the pod is left here."""
        concerns(subject_of(self._pod))
        async with asyncio.TaskGroup() as tasks:
            self._probes = ProbeSet(
                tasks=tasks,
                checker=self._parts.checker,
                changed=self._wake.set,
                notice=lambda container, reason, text: self._warn(reason, text, container),
                rng=self._parts.rng,
            )
            while not self._ending.is_set():
                self._wake.clear()
                delay = await self._attempt(self._sync(), self._ending)
                await self._pause(delay)
            self.phase = Phase.TERMINATING
            self._forget_containers()
            self._probes.stop()
            with self._parts.metrics.pod_work("terminating"):
                await self._persist(self._terminate)
            self.phase = Phase.TERMINATED
            await self._deleted.wait()
            await self._persist(self._clean_up)

    async def _attempt(self, work: Coroutine[Any, Any, float | None], stop: asyncio.Event) -> float | None:
        """One sync, given up when `stop` is set; seconds to the next, None for no limit."""
        try:
            with self._parts.metrics.pod_work("sync"):
                delay: float | None = await until(work, stop)
            self._failures = 0
            return delay
        except MissingReference as error:
            self._warn("FailedMount", str(error))
        except Unable as error:
            self._warn(error.reason, str(error))
        except (RuntimeFault, ApiError, OSError) as error:
            self._parts.log.warning("pod %s: %s", self._name(), error)
            self._warn("FailedSync", f"error syncing pod: {error}")
        except Exception:
            self._parts.log.exception("pod %s: unforeseen; trying again", self._name())
        self._forget_containers()
        self._failures += 1
        return min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(self._failures - 1, 10))

    async def _pause(self, delay: float | None) -> None:
        if self._ending.is_set():
            return
        try:
            async with asyncio.timeout(delay):
                await self._wake.wait()
        except TimeoutError:
            if delay:
                self._forget_containers()

    async def _persist(self, step: Any) -> None:
        """Repeats a step of the end until it succeeds: what is left over would leak."""
        failures = 0
        while True:
            try:
                await step()
                return
            except (RuntimeFault, ApiError, OSError) as error:
                self._parts.log.warning("pod %s: %s", self._name(), error)
            except Exception:
                self._parts.log.exception("pod %s: unforeseen; trying again", self._name())
            await asyncio.sleep(min(LONGEST_RETRY, FIRST_RETRY * 2.0 ** min(failures, 10)))
            failures += 1

    # syncing

    async def _sync(self) -> float | None:
        parts = self._parts
        if self._start_time is None:
            self._start_time = parts.clock.now().replace(microsecond=0)
        if (refused := refusal(self._pod)) is not None:
            self._warn(refused[0], refused[1])
            self._outcome = Plan(finished="Failed", reason=refused[0], message=refused[1])
            self._ending.set()
            return 0.0
        observed = await self._observe()
        plan = plan_pod(self._pod, observed, parts.clock.now())
        if plan.finished:
            if plan.reason == "DeadlineExceeded":
                self._say("DeadlineExceeded", plan.message)
            self._outcome = plan
            self._ending.set()
            return 0.0
        await self._write(observed)
        if self._volumes is None or parts.clock.monotonic() - self._refreshed >= REFRESH:
            with nullcontext() if self._volumes is not None else parts.metrics.stage("volumes"):
                self._volumes = await self._prepare_volumes(self._volumes)
            if full := await parts.volumes.overfull(self._pod):
                self._warn("Evicted", full)
                self._outcome = Plan(finished="Failed", reason="Evicted", message=full)
                self._ending.set()
                return 0.0
        for stop in plan.stop:
            self._say("Killing", stop.message, stop.container.name)
            await self._stop_one(stop.container, self._grace_of_restart(stop.container, observed), observed)
            self._forget_containers()
        for container_id in plan.remove:
            with parts.metrics.runtime_operation("remove_container"):
                await parts.runtime.remove(container_id)
            self._know([c for c in self._containers or () if c.id != container_id])
        if plan.sandbox_attempt is not None:
            if plan.sandbox_attempt:
                self._say("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            made = await self._sandbox.make(self._pod, plan.sandbox_attempt)
            self._know([*(self._containers or ()), made])
            return 0.0
        sandbox = observed.sandbox()
        if sandbox is not None and sandbox.state == "running":
            await self._sandbox.attach(self._pod, sandbox)
            for start in plan.start:
                outcome = await self._starter.start(
                    self._pod,
                    start,
                    sandbox,
                    pod_ip=self._sandbox.ip,
                    volumes=self._volumes,
                    pid_of=looked_into(self._pod, start.wish.name, observed),
                )
                if isinstance(outcome, Blocked):
                    self._blocked[start.wish.name] = outcome
                    self._forget_containers()
                else:
                    self._blocked.pop(start.wish.name, None)
                    before = [c for c in self._containers or () if c.id != outcome.id]
                    self._know([*before, outcome])
                    if start.wish.lifecycle is not None:  # whose hook may have ended it
                        self._forget_containers()
        if plan.start or plan.stop:
            return 0.0
        await self._write(await self._observe())
        self._tell_of_back_offs(observed)
        now = parts.clock.now()
        waits = [REFRESH] if self._refreshes() else []
        if self._age_blocks(now):
            waits.append(SHOWN)
        if plan.look_again is not None:
            waits.append(max(0.0, (plan.look_again - now).total_seconds()))
        return min(waits, default=None)

    def _tell_of_back_offs(self, observed: Observed) -> None:
        """Once for each container that has ended and must wait."""
        now, pod = self._parts.clock.now(), self._pod
        for wish in [*pod.spec.init_containers, *pod.spec.containers]:
            found = observed.newest(wish.name)
            if found is None or found.state != "exited" or found.id in self._told or not comes_back(pod, wish, found):
                continue
            if (at := restart_at(found)) is not None and at > now:
                self._told.add(found.id)
                text = f"{pod.metadata.name}_{pod.metadata.namespace}({self.uid})"
                self._warn("BackOff", f"Back-off restarting failed container {wish.name} in pod {text}", wish.name)

    async def _prepare_volumes(self, before: Mapping[str, Place] | None) -> Mapping[str, Place]:
        """A pod that has its volumes keeps them, though what they show can no longer be read."""
        self._refreshed = self._parts.clock.monotonic()
        try:
            return await self._parts.volumes.prepare(self._pod, pod_ip=self._sandbox.ip)
        except MissingReference as error:
            if before is None:
                raise
            self._warn("FailedMount", str(error))
            return before

    def _age_blocks(self, now: datetime) -> bool:
        """A pull that failed a moment ago is ErrImagePull; while its next try is waited for, ImagePullBackOff.
        True when there is one that is to be looked at again for this.
        """
        young = False
        for name, blocked in self._blocked.items():
            if blocked.reason == "ErrImagePull" and blocked.since is not None:
                if (now - blocked.since).total_seconds() < SHOWN:
                    young = True
                    continue
                image = next((w.image for w in self._wishes().values() if w.name == name), "")
                text = f'Back-off pulling image "{image}"'
                self._blocked[name] = replace(blocked, reason="ImagePullBackOff", message=f"{text}: {blocked.message}")
                self._say("BackOff", text, name)
                self._warn("Failed", "Error: ImagePullBackOff", name)
                self._wake.set()
        return young

    def _know(self, containers: Sequence[Container]) -> None:
        """After something of our own doing; unless others stirred meanwhile."""
        if self._containers is not None:
            self._containers = containers

    async def _observe(self) -> Observed:
        """Asks the runtime only if something may have changed since it was last asked."""
        if (containers := self._containers) is None:
            before = self._stirred
            containers = await self._parts.observer.of(self.uid)
            if self._stirred == before:
                self._containers = containers
        observed = Observed(containers=containers, blocked=self._blocked, start_time=self._start_time)
        await self._last_words.hear(containers, self._wishes())
        if self._probes is not None and self.phase is Phase.SYNCING:
            self._probes.watch(self._targets(observed), recorded_reports(self._pod))
            observed = replace(observed, probes=dict(self._probes.reports))
        return observed

    def _targets(self, observed: Observed) -> dict[str, Target]:
        """None until the pod's address is known: an agent that has just started finds containers before it has that."""
        if not self._sandbox.ip:
            return {}
        sandbox, wishes = observed.sandbox(), self._wishes()
        pid = sandbox.pid if sandbox else 0
        return {
            c.id: Target(c, wishes[c.name], self._sandbox.ip, pid)
            for c in observed.containers
            if c.state == "running" and c.kind != "sandbox" and c.name in wishes
        }

    def _wishes(self) -> dict[str, ContainerWish]:
        return {wish.name: wish for wish in [*self._pod.spec.init_containers, *self._pod.spec.containers]}

    async def _write(self, observed: Observed, *, ended: bool = False) -> None:
        finished = self._outcome.finished if ended else ""
        about = Circumstances(
            now=self._parts.clock.now().replace(microsecond=0),
            host_ip=self._parts.facts.ip,
            pod_ip=self._sandbox.ip,
            start_time=self._start_time,
            finished=finished,
            reason=self._outcome.reason,
            message=self._outcome.message,
            ended=ended,
            termination_messages=self._last_words.texts,
        )
        status = build_status(self._pod, observed, about)
        if status.phase == "Running" and not self._counted:
            self._counted = True
            self._started_at = now = self._parts.clock.monotonic()
            unseen = self._unseen if self._unseen >= 1 else 0.0
            self._parts.metrics.pod_started(now - self._seen, unseen=unseen, pulling=self._starter.pulling)
        if self._started_at is not None and any(c.type == "Ready" and c.status == "True" for c in status.conditions):
            self._parts.metrics.pod_ready(self._parts.clock.monotonic() - self._started_at)
            self._started_at = None
        passing = status.phase == "Pending" and not self._blocked and not ended
        self._parts.statuses.put(self._pod, status, passing=passing)

    def _refreshes(self) -> bool:
        return any(
            v.config_map or v.secret or v.projected or v.downward_api or (v.empty_dir and v.empty_dir.size_limit)
            for v in self._pod.spec.volumes
        )

    # terminating

    async def _terminate(self) -> None:
        while True:
            self._hurry.clear()
            stopped = await until(self._stop_all(self._grace()), self._hurry)
            if stopped is not None:
                break
        observed = await self._observe()
        sandbox = observed.sandbox()
        if sandbox is not None:
            await self._parts.runtime.stop(sandbox.id, grace=0.0)  # it holds the namespaces, and nothing to finish
        if not self._pod.spec.host_network:
            await self._parts.network.detach(self.uid)
        self._forget_containers()
        if not self._gone and (observed.containers or self._pod.status.phase not in ("Succeeded", "Failed")):
            self._restore_ip()
            await self._write(await self._observe(), ended=True)

    def _restore_ip(self) -> None:
        """After a restart of the agent the address of an ended pod is known from its status alone."""
        self._sandbox.ip = self._sandbox.ip or self._pod.status.pod_ip

    async def _stop_all(self, grace: float) -> bool:
        """Apps first, all at once; then the sidecars, in reverse order."""
        observed = await self._observe()
        sidecars = [w.name for w in self._pod.spec.init_containers if is_sidecar(w)]
        running = [c for c in observed.containers if c.state == "running" and c.kind != "sandbox"]
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        async with asyncio.TaskGroup() as tasks:
            for container in running:
                if container.name not in sidecars:
                    self._say("Killing", f"Stopping container {container.name}", container.name)
                    tasks.create_task(self._stop_one(container, grace, observed))
        for name in reversed(sidecars):
            for container in running:
                if container.name == name:
                    left = max(LEAST_GRACE, end - loop.time())
                    self._say("Killing", f"Stopping container {name}", name)
                    await self._stop_one(container, left, observed)
        return True

    async def _stop_one(self, container: Container, grace: float, observed: Observed) -> None:
        """preStop and TERM share the grace; the process always gets a moment after TERM."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        wish = self._wishes().get(container.name)
        if grace > 0 and wish is not None and wish.lifecycle is not None and wish.lifecycle.pre_stop is not None:
            sandbox = observed.sandbox()
            target = Target(container, wish, self._sandbox.ip, sandbox.pid if sandbox else 0)
            verdict = await self._parts.checker.check(
                "preStop", wish.lifecycle.pre_stop, target, timeout=min(grace, HOOK_LIMIT)
            )
            if not verdict.good:
                self._warn("FailedPreStopHook", f"PreStopHook failed: {verdict.text}", container.name)
        left = grace - (loop.time() - begun)
        with self._parts.metrics.runtime_operation("stop_container"):
            await self._parts.runtime.stop(container.id, grace=max(left, min(grace, LEAST_GRACE)))

    def _grace(self) -> float:
        asked = self._pod.metadata.deletion_grace_period_seconds
        if self._pod.metadata.deletion_timestamp is not None and asked is not None:
            return max(float(asked), LEAST_GRACE)
        wished = self._pod.spec.termination_grace_period_seconds
        return max(DEFAULT_GRACE if wished is None else float(wished), LEAST_GRACE)

    def _grace_of_restart(self, container: Container, observed: Observed) -> float:
        wish = self._wishes().get(container.name)
        report = observed.probes.get(container.id)
        if wish is not None and report is not None and report.failed:
            for probe in (wish.liveness_probe, wish.startup_probe):
                if probe is not None and probe.termination_grace_period_seconds is not None:
                    return float(probe.termination_grace_period_seconds)
        return self._grace()

    # terminated

    async def _clean_up(self) -> None:
        """Nothing runs: the object goes first, then what has ended. What an agent leaves that dies here, the next one
        removes, because no pod has it any more."""
        await self._parts.statuses.settle(self.uid)
        self._forget_containers()
        left = await self._parts.observer.of(self.uid)
        for container in left:
            if (
                container.state == "running"
            ):  # came after we had looked: the sync was cancelled while the runtime worked
                await self._parts.runtime.stop(container.id, grace=0.0)
        await self._parts.volumes.remove(self.uid)
        self._parts.statuses.forget(self.uid)
        if not self._gone:
            meta = self._pod.metadata
            with suppress(NotFound, Conflict):
                await self._parts.client.delete(Pod, meta.name, meta.namespace, grace_seconds=0, uid=meta.uid)
        for container in left:
            await self._parts.runtime.remove(container.id)

    def _say(self, reason: str, message: str, container: str = "") -> None:
        self._events.say(self._pod, reason, message, container=container)

    def _warn(self, reason: str, message: str, container: str = "") -> None:
        self._events.warn(self._pod, reason, message, container=container)

    def _name(self) -> str:
        return f"{self._pod.metadata.namespace}/{self._pod.metadata.name}"


async def until(work: Coroutine[Any, Any, Any], stop: asyncio.Event) -> Any:
    """The result of `work`; None when `stop` is set first: then `work` has been cancelled and has ended."""
    doing = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        return None
    finally:
        for task in (doing, stopping):
            task.cancel()
        await asyncio.gather(doing, stopping, return_exceptions=True)
