"""One worker per pod UID, from the first time the pod is seen on this node until nothing of it is left.

    syncing ──────────────► terminating ──────────────► terminated
    observe, plan, act,      preStop, TERM, KILL,        deleted in the API: clean up, DELETE with grace 0;
    write the status         sandbox, network            else wait for that, keeping the logs

The worker holds the phases and the order of things; each thing is done by a part of its own: pod_plan says what to do,
pod_sandbox, pod_volumes, container_starter and container_stopper do it, container_view knows what there is, back_offs what
must wait, and pod_status puts it into words.

A pod that is being deleted, is gone from the API, has exceeded its deadline or has ended for good leaves the first
phase for ever. What a sync was doing then (a long image pull, say) is cancelled.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Any

from kubeapi.errors import ApiError, Conflict, NotFound
from kubeapi.logs import concerns, subject_of
from kubeapi.types.core_v1 import Pod
from node_agent.admission import refusal
from node_agent.back_offs import SHOWN, BackOffs
from node_agent.checks import Target
from node_agent.container_starter import ContainerStarter
from node_agent.container_stopper import ContainerStopper, grace_of_restart
from node_agent.container_view import ContainerView
from node_agent.last_words import LastWords
from node_agent.parts import Parts
from node_agent.pod_events import PodEvents
from node_agent.pod_plan import Blocked, Observed, Plan, looked_into, plan_pod, wishes_of
from node_agent.pod_sandbox import PodSandbox, Unable
from node_agent.pod_start import PodStart
from node_agent.pod_status import Circumstances, build_status, recorded_reports
from node_agent.pod_volumes import REFRESH, PodVolumes, may_change
from node_agent.probing import ProbeSet
from node_agent.references import MissingReference
from node_agent.runtimes.errors import RuntimeFault

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

    def __init__(self, pod: Pod, parts: Parts) -> None:
        self.phase = Phase.SYNCING
        self.uid = pod.metadata.uid
        self._pod = pod
        self._parts = parts
        self._events = PodEvents(parts.events)
        self._sandbox = PodSandbox(parts)
        self._volumes = PodVolumes(parts)
        self._starter = ContainerStarter(parts)
        self._stopper = ContainerStopper(parts)
        self._containers = ContainerView(parts.observer, self.uid)
        self._last_words = LastWords(parts.runtime, parts.volumes.home(self.uid))
        self._start = PodStart(pod, clock=parts.clock, metrics=parts.metrics)
        self._wake = asyncio.Event()
        self._ending = asyncio.Event()
        self._hurry = asyncio.Event()
        self._deleted = asyncio.Event()
        self._gone = False
        self._back_offs = BackOffs(events=self._events, clock=parts.clock, changed=self._wake.set)
        self._probes: ProbeSet | None = None
        self._outcome = Plan()
        self._start_time: datetime | None = pod.status.start_time
        self._failures = 0
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
        self._containers.forget()
        self._wake.set()

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
            self._containers.forget()
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
        self._containers.forget()
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
                self._containers.forget()

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
            return self._finish(Plan(finished="Failed", reason=refused[0], message=refused[1]))
        observed = await self._observe()
        plan = plan_pod(self._pod, observed, parts.clock.now())
        if plan.finished:
            if plan.reason == "DeadlineExceeded":
                self._say("DeadlineExceeded", plan.message)
            return self._finish(plan)
        await self._write(observed)
        if full := await self._volumes.refresh(self._pod, pod_ip=self._sandbox.ip):
            self._warn("Evicted", full)
            return self._finish(Plan(finished="Failed", reason="Evicted", message=full))
        await self._carry_out(plan, observed)
        if plan.sandbox_attempt is not None or plan.start or plan.stop:
            return 0.0
        await self._write(await self._observe())
        self._back_offs.tell(self._pod, observed)
        waits = [REFRESH] if may_change(self._pod) else []
        if self._back_offs.age(self._pod):
            waits.append(SHOWN)
        if plan.look_again is not None:
            waits.append(max(0.0, (plan.look_again - parts.clock.now()).total_seconds()))
        return min(waits, default=None)

    def _finish(self, outcome: Plan) -> float:
        self._outcome = outcome
        self._ending.set()
        return 0.0

    async def _carry_out(self, plan: Plan, observed: Observed) -> None:
        parts = self._parts
        for stop in plan.stop:
            self._say("Killing", stop.message, stop.container.name)
            grace = grace_of_restart(self._pod, stop.container, observed)
            await self._stopper.stop(self._pod, stop.container, observed, pod_ip=self._sandbox.ip, grace=grace)
            self._containers.forget()
        for container_id in plan.remove:
            with parts.metrics.runtime_operation("remove_container"):
                await parts.runtime.remove(container_id)
            self._containers.drop(container_id)
        if plan.sandbox_attempt is not None:
            if plan.sandbox_attempt:
                self._say("SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
            self._containers.put(await self._sandbox.make(self._pod, plan.sandbox_attempt))
            return
        sandbox = observed.sandbox()
        if sandbox is not None and sandbox.state == "running":
            await self._sandbox.attach(self._pod, sandbox)
            for start in plan.start:
                outcome = await self._starter.start(
                    self._pod,
                    start,
                    sandbox,
                    pod_ip=self._sandbox.ip,
                    volumes=self._volumes.places,
                    pid_of=looked_into(self._pod, start.wish.name, observed),
                )
                if isinstance(outcome, Blocked):
                    self._back_offs.blocked[start.wish.name] = outcome
                    self._containers.forget()
                else:
                    self._back_offs.blocked.pop(start.wish.name, None)
                    self._containers.put(outcome)
                    if start.wish.lifecycle is not None:  # whose hook may have ended it
                        self._containers.forget()

    async def _observe(self) -> Observed:
        containers = await self._containers.look()
        observed = Observed(containers=containers, blocked=self._back_offs.blocked, start_time=self._start_time)
        await self._last_words.hear(containers, wishes_of(self._pod))
        if self._probes is not None and self.phase is Phase.SYNCING:
            self._probes.watch(self._targets(observed), recorded_reports(self._pod))
            observed = replace(observed, probes=dict(self._probes.reports))
        return observed

    def _targets(self, observed: Observed) -> dict[str, Target]:
        """None until the pod's address is known: an agent that has just started finds containers before it has that."""
        if not self._sandbox.ip:
            return {}
        sandbox, wishes = observed.sandbox(), wishes_of(self._pod)
        pid = sandbox.pid if sandbox else 0
        return {
            c.id: Target(c, wishes[c.name], self._sandbox.ip, pid)
            for c in observed.containers
            if c.state == "running" and c.kind != "sandbox" and c.name in wishes
        }

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
        self._start.look(status, pulling=self._starter.pulling)
        passing = status.phase == "Pending" and not self._back_offs.blocked and not ended
        self._parts.statuses.put(self._pod, status, passing=passing)

    # terminating

    async def _terminate(self) -> None:
        while True:
            self._hurry.clear()
            stopped = await until(self._stop_all(), self._hurry)
            if stopped is not None:
                break
        observed = await self._observe()
        sandbox = observed.sandbox()
        if sandbox is not None:
            await self._parts.runtime.stop(sandbox.id, grace=0.0)  # it holds the namespaces, and nothing to finish
        if not self._pod.spec.host_network:
            await self._parts.network.detach(self.uid)
        self._containers.forget()
        if not self._gone and (observed.containers or self._pod.status.phase not in ("Succeeded", "Failed")):
            self._restore_ip()
            await self._write(await self._observe(), ended=True)

    def _restore_ip(self) -> None:
        """After a restart of the agent the address of an ended pod is known from its status alone."""
        self._sandbox.ip = self._sandbox.ip or self._pod.status.pod_ip

    async def _stop_all(self) -> bool:
        pod = self._pod
        await self._stopper.stop_all(pod, await self._observe(), pod_ip=self._sandbox.ip)
        return True

    # terminated

    async def _clean_up(self) -> None:
        """Nothing runs: the object goes first, then what has ended. What an agent leaves that dies here, the next one
        removes, because no pod has it any more."""
        await self._parts.statuses.settle(self.uid)
        self._containers.forget()
        left = await self._parts.observer.of(self.uid)
        for container in left:
            if container.state == "running":  # came after our look: a sync was cancelled in the midst
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
