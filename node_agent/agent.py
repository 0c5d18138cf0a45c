"""One node's agent: registers the node, keeps its lease, runs its pods, and keeps the network in step.

    informers: pods of this node ──► one PodWorker per UID ──► runtime, volumes, network ──► StatusWriter
               nodes, services, endpoint slices ──► NetworkKeeper      our Node ──► OwnNode      NodeLease

A restart harms no pod: containers carry labels that say whose they are, and each worker begins by looking at what
runs. Containers without a pod are removed only when the pods of this node have been listed in full.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from random import Random

from kubeapi.client.events import EventRecorder
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError
from kubeapi.logs import Subject, about
from kubeapi.tasks import Backoff, forever
from kubeapi.types.core_v1 import Node, Pod, Service
from kubeapi.types.discovery_v1 import EndpointSlice
from node_agent.metrics import NodeMetrics
from node_agent.network.interface import PodNetwork
from node_agent.network_keeper import NetworkKeeper
from node_agent.node_lease import NodeLease
from node_agent.node_object import Machine, NodeIdentity
from node_agent.own_node import OwnNode
from node_agent.parts import Observer, Parts
from node_agent.pod_worker import PodWorker
from node_agent.runtime_changes import listen
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import Runtime
from node_agent.vitals import Vitals


@dataclass(frozen=True, slots=True)
class AgentTimes:
    """Seconds."""

    lease: float = 10.0
    """Between two renewals of the node's lease, which is valid for four times as long."""
    status: float = 60.0
    """Between two looks at the node's own status; it is written when it changed, else every five minutes."""
    relist: float = 10.0
    """Between two full looks at the runtime, for what its event stream has missed."""
    verify: float = 60.0
    """Between two looks at whether the network is still as it was left."""
    gather: float = 0.05
    """How long changes of services and nodes are gathered before the network is told."""


NetworkFactory = Callable[[str], Awaitable[PodNetwork]]
"""From the node's pod CIDR."""
PartsFactory = Callable[[PodNetwork, Informer[Service]], Parts]


class NodeAgent:
    workers: dict[str, PodWorker]
    """By pod UID; a worker leaves when nothing of its pod is left."""

    def __init__(
        self,
        *,
        client: Client,
        runtime: Runtime,
        observer: Observer,
        who: NodeIdentity,
        machine: Machine,
        make_network: NetworkFactory,
        make_parts: PartsFactory,
        events: EventRecorder,
        clock: Clock,
        rng: Random,
        log: logging.Logger,
        times: AgentTimes | None = None,
        domain: str = "cluster.local",
        vitals: Callable[[], Vitals] | None = None,
        metrics: NodeMetrics | None = None,
    ) -> None:
        """`vitals` blocks shortly; None: a node without a machine of its own, never under pressure."""
        self._runtime = runtime
        self._observer = observer
        self._name = who.name
        self._make_network = make_network
        self._make_parts = make_parts
        self._events = events
        self._rng = rng
        self._log = log
        self._times = times = times or AgentTimes()
        self._metrics = metrics = metrics or NodeMetrics()
        self.ready = asyncio.Event()
        """The node is registered, its network stands, and its pods have been listed."""
        self.workers = {}
        self.parts: Parts | None = None
        only_ours = f"spec.nodeName={who.name}"
        self.pods = Informer(client, Pod, rng=rng, field_selector=only_ours, metrics=metrics, log=log)
        self.nodes = Informer(client, Node, rng=rng, metrics=metrics, log=log)
        self.services = Informer(client, Service, rng=rng, metrics=metrics, log=log)
        self.slices = Informer(client, EndpointSlice, rng=rng, metrics=metrics, log=log)
        self._lease = NodeLease(node=who.name, period=times.lease, client=client, clock=clock, rng=rng, log=log)
        self._node = OwnNode(
            who=who,
            machine=machine,
            nodes=self.nodes,
            period=times.status,
            client=client,
            runtime=runtime,
            vitals=vitals,
            events=events,
            clock=clock,
        )
        self._network = NetworkKeeper(
            node=who.name,
            domain=domain,
            nodes=self.nodes,
            services=self.services,
            slices=self.slices,
            gather=times.gather,
            verify=times.verify,
            clock=clock,
            metrics=metrics,
            log=log,
        )

    async def run(self) -> None:
        """Until cancelled. Pods go on running then."""
        await self._persist(self._node.ask_runtime, "ask the runtime")
        await self._persist(self._node.register, "register the node")
        async with asyncio.TaskGroup() as tasks:
            self._eternal(tasks, "lease", self._lease.keep)
            for informer in (self.nodes, self.services, self.slices):
                self._eternal(tasks, informer.name, informer.run)
            self._eternal(tasks, "events", self._events.run)
            network, mac = await self._set_up_network(await self._node.pod_cidr())
            parts = self.parts = self._make_parts(network, self.services)
            self._node.networked(mac)
            await self._persist(self._node.register, "tell the tunnel's address")
            self._eternal(tasks, "statuses", parts.statuses.run)
            self._network.listen()
            self._node.listen()
            self._eternal(tasks, "network", lambda: self._network.keep(network))
            await self.services.synced.wait()
            self.pods.subscribe(lambda old, new: self._pod_changed(tasks, parts, old, new))
            self._eternal(tasks, self.pods.name, self.pods.run)
            await self.pods.synced.wait()
            self._eternal(tasks, "changes", self._listen)
            self._eternal(tasks, "relist", lambda: self._relist(tasks, network))
            self._eternal(tasks, "node-status", self._node.keep_status)
            self._network.measure()
            self.ready.set()

    def _eternal(self, tasks: asyncio.TaskGroup, name: str, run: Callable[[], Awaitable[None]]) -> None:
        tasks.create_task(
            forever(run, name=name, rng=self._rng, backoff=Backoff(first=0.5, most=10.0), log=self._log),
            name=f"{self._name}-{name}",
        )

    async def _persist(self, step: Callable[[], Awaitable[None]], what: str) -> None:
        # At a cluster's start the agent is often there before the server: it is to be late by little.
        failures, backoff = 0, Backoff(first=0.1, most=5.0, factor=1.3)
        while True:
            try:
                return await step()
            except (ApiError, OSError, RuntimeFault) as error:
                self._log.warning("cannot %s, trying again: %s", what, error)
                await asyncio.sleep(backoff.delay(failures, self._rng))
                failures += 1

    async def _set_up_network(self, cidr: str) -> tuple[PodNetwork, str]:
        """The network, and the address of its end of the tunnel."""
        failures, backoff = 0, Backoff(first=0.5, most=10.0)
        while True:
            try:
                network = await self._make_network(cidr)
                return network, await network.setup()
            except Exception:
                self._log.exception("cannot set the pod network up, trying again")
                await asyncio.sleep(backoff.delay(failures, self._rng))
                failures += 1

    def _pod_changed(self, tasks: asyncio.TaskGroup, parts: Parts, old: Pod | None, new: Pod | None) -> None:
        replaced = old is not None and (new is None or new.metadata.uid != old.metadata.uid)
        if replaced and old is not None and (worker := self.workers.get(old.metadata.uid)) is not None:
            worker.removed()
        if new is None:
            return
        uid = new.metadata.uid
        if (worker := self.workers.get(uid)) is not None:
            worker.update(new)
            return
        worker = self.workers[uid] = PodWorker(new, parts)
        tasks.create_task(self._work(uid, worker), name=f"pod-{new.metadata.namespace}/{new.metadata.name}")

    async def _work(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            # A worker handles its own failures: this is a defect. It must not take the other pods down with it.
            self._log.exception("the worker of pod %s died", uid, extra=about(worker.pod))
        finally:
            if self.workers.get(uid) is worker:
                del self.workers[uid]

    async def _listen(self) -> None:
        def changed(uid: str) -> None:
            if (worker := self.workers.get(uid)) is not None:
                worker.poke()

        def back() -> None:
            self._node.runtime_back()
            for worker in self.workers.values():
                worker.poke()

        await listen(
            self._runtime, changed=changed, lost=self._node.runtime_lost, back=back, rng=self._rng, log=self._log
        )

    async def _relist(self, tasks: asyncio.TaskGroup, network: PodNetwork) -> None:
        """What the event stream has missed; and what belongs to no pod. Only runs when pods have been listed."""
        seen: Mapping[str, object] = {}
        while True:
            with self._metrics.runtime_operation("list_containers"):
                found = await self._observer.all()
            self._metrics.runs(found)
            now = {uid: tuple(sorted((c.id, c.state) for c in cs)) for uid, cs in found.items()}
            for uid, states in now.items():
                if (worker := self.workers.get(uid)) is not None:
                    if seen.get(uid) != states:
                        worker.poke()
                elif not any(pod.metadata.uid == uid for pod in self.pods.cache):
                    of = Subject("Pod", found[uid][0].pod_namespace, found[uid][0].pod_name)
                    self._log.info("removing the containers of pod %s, which is no more", uid, extra=about(of))
                    await network.detach(uid)
                    for container in found[uid]:
                        await self._runtime.remove(container.id)
            for attachment in await network.attachments():
                if attachment.pod_uid not in now and attachment.pod_uid not in self.workers:
                    await network.detach(attachment.pod_uid)
            await self._forget_directories()
            seen = now
            await asyncio.sleep(self._times.relist)

    async def _forget_directories(self) -> None:
        """Of pods that went while no agent looked. What cannot be removed now is tried at the next relist."""
        assert self.parts is not None
        for uid in await self.parts.volumes.uids():
            if uid in self.workers or any(pod.metadata.uid == uid for pod in self.pods.cache):
                continue
            try:
                await self.parts.volumes.remove(uid)
                self._log.info("removed the directory of pod %s, which is no more", uid)
            except OSError as error:
                self._log.warning("cannot remove the directory of pod %s: %s", uid, error)
