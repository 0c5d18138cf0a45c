"""One node's agent: registers the node, keeps its lease, runs its pods, and keeps the network in step.

    informers: pods of this node ──► one PodWorker per UID ──► runtime, volumes, network ──► StatusWriter
               nodes ──► peers        services, endpoint slices ──► service rules, DNS records

A restart harms no pod: containers carry labels that say whose they are, and each worker begins by looking at what
runs. Containers without a pod are removed only when the pods of this node have been listed in full.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from random import Random

from msgspec.structs import replace

from kubeapi.client.events import EventRecorder
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock, format_micro
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeapi.logs import Subject, about
from kubeapi.tasks import Backoff, forever
from kubeapi.types.coordination_v1 import Lease, LeaseSpec
from kubeapi.types.core_v1 import Node, NodeStatus, Pod, Service
from kubeapi.types.discovery_v1 import EndpointSlice
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.metrics import NodeMetrics
from node_agent.network.interface import Peer, PodNetwork
from node_agent.node_object import (
    VTEP_MAC,
    Machine,
    NodeIdentity,
    adopted,
    new_node,
    node_status,
    same_but_for_heartbeat,
)
from node_agent.parts import Observer, Parts
from node_agent.pod_events import changes_of_node, tell_of_node
from node_agent.pod_worker import PodWorker
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import Runtime
from node_agent.service_plan import dns_records, service_ports
from node_agent.vitals import Vitals

LEASE_NAMESPACE = "kube-node-lease"
LAST_CHANGE = "endpoints.kubernetes.io/last-change-trigger-time"


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
        self._client = client
        self._runtime = runtime
        self._observer = observer
        self._who = who
        self._machine = machine
        self._make_network = make_network
        self._make_parts = make_parts
        self._events = events
        self._clock = clock
        self._rng = rng
        self._log = log
        self._times = times or AgentTimes()
        self._domain = domain
        self._vitals = vitals
        self._metrics = metrics or NodeMetrics()
        self._triggers: list[datetime] = []
        """When the changes happened that the network has not followed yet, as far as endpoint slices tell."""
        self._changed = asyncio.Event()
        self._node_written = asyncio.Event()
        self._mac = ""
        self._unready = ""
        self._told_start = False
        self._runtime_version = ""
        self._written = 0.0
        self.ready = asyncio.Event()
        """The node is registered, its network stands, and its pods have been listed."""
        self.workers = {}
        self.parts: Parts | None = None
        only_ours = f"spec.nodeName={who.name}"
        self.pods = Informer(client, Pod, rng=rng, field_selector=only_ours, metrics=self._metrics, log=log)
        self.nodes = Informer(client, Node, rng=rng, metrics=self._metrics, log=log)
        self.services = Informer(client, Service, rng=rng, metrics=self._metrics, log=log)
        self.slices = Informer(client, EndpointSlice, rng=rng, metrics=self._metrics, log=log)

    async def run(self) -> None:
        """Until cancelled. Pods go on running then."""
        await self._persist(self._ask_runtime, "ask the runtime")
        await self._persist(self._register, "register the node")
        async with asyncio.TaskGroup() as tasks:
            self._eternal(tasks, "lease", self._keep_lease)
            for informer in (self.nodes, self.services, self.slices):
                self._eternal(tasks, informer.name, informer.run)
            self._eternal(tasks, "events", self._events.run)
            cidr = await self._pod_cidr()
            network = await self._network(cidr)
            parts = self.parts = self._make_parts(network, self.services)
            await self._persist(self._register, "tell the tunnel's address")
            self._eternal(tasks, "statuses", parts.statuses.run)
            for informer in (self.nodes, self.services, self.slices):
                informer.subscribe(lambda old, new: self._changed.set())
            self.nodes.subscribe(self._look_at_node)
            self.slices.subscribe(lambda old, new: self._note_trigger(old, new))
            self._eternal(tasks, "network", lambda: self._keep_network(network))
            await self.services.synced.wait()
            self.pods.subscribe(lambda old, new: self._pod_changed(tasks, parts, old, new))
            self._eternal(tasks, self.pods.name, self.pods.run)
            await self.pods.synced.wait()
            self._eternal(tasks, "changes", self._listen)
            self._eternal(tasks, "relist", lambda: self._relist(tasks, network))
            self._eternal(tasks, "node-status", self._keep_status)
            self.ready.set()

    def _eternal(self, tasks: asyncio.TaskGroup, name: str, run: Callable[[], Awaitable[None]]) -> None:
        tasks.create_task(
            forever(run, name=name, rng=self._rng, backoff=Backoff(first=0.5, most=10.0), log=self._log),
            name=f"{self._who.name}-{name}",
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

    # pods

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
        async for uid in self._runtime.changes():
            if (worker := self.workers.get(uid)) is not None:
                worker.poke()

    async def _relist(self, tasks: asyncio.TaskGroup, network: PodNetwork) -> None:
        """What the event stream has missed; and what belongs to no pod. Only runs when pods have been listed."""
        seen: Mapping[str, object] = {}
        while True:
            with self._metrics.runtime_operation("list_containers"):
                found = await self._observer.all()
            self._metrics.runs(found)
            self._unready = ""
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

    # the node

    async def _ask_runtime(self) -> None:
        self._runtime_version = await self._runtime.version()

    async def _register(self) -> None:
        status = await self._status_now(None)
        try:
            node = await self._client.get(Node, self._who.name)
        except NotFound:
            fresh = new_node(self._who, self._machine, mac=self._mac, status=status)
            try:
                node = await self._client.create(fresh)
                tell_of_node(self._events, node, changes_of_node([], node.status.conditions))
            except AlreadyExists:
                node = await self._client.get(Node, self._who.name)
        ours = adopted(node, self._who, self._machine, mac=self._mac)
        if ours != node:
            try:
                node = await self._client.update(ours)
            except Conflict:
                return await self._register()
        if not self._told_start:
            self._told_start = True
            self._events.event(node, "Normal", "Starting", "Starting kubelet.")
        await self._write_status(node)

    async def _status_now(self, old: NodeStatus | None) -> NodeStatus:
        return node_status(
            self._who,
            self._machine,
            runtime_version=self._runtime_version,
            old=old,
            images=await self._runtime.images(),
            unready=self._unready or ("" if self.parts else "the pod network is not ready"),
            now=self._clock.now().replace(microsecond=0),
            vitals=await asyncio.to_thread(self._vitals) if self._vitals is not None else None,
            networked=self.parts is not None,
        )

    async def _write_status(self, node: Node) -> None:
        while True:
            wanted = await self._status_now(node.status)
            changed = list(changes_of_node(node.status.conditions, wanted.conditions))
            try:
                await self._client.update(replace(node, status=wanted), subresource="status")
            except Conflict:
                node = await self._client.get(Node, self._who.name)
                continue
            self._written = self._clock.monotonic()
            tell_of_node(self._events, node, changed)
            return

    async def _keep_status(self) -> None:
        """Looks when it is time, and when somebody else wrote our Node: that we are given up for dead is put right at once."""
        while True:
            self._node_written.clear()
            node = self.nodes.cache.find(self._who.name)
            if node is None:
                await self._register()
            else:
                wanted = await self._status_now(node.status)
                due = self._clock.monotonic() - self._written >= 5 * self._times.status
                if due or not same_but_for_heartbeat(wanted, node.status):
                    await self._write_status(node)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._times.status):
                    await self._node_written.wait()

    def _look_at_node(self, old: Node | None, new: Node | None) -> None:
        if (new or old).metadata.name == self._who.name:  # type: ignore[union-attr]
            self._node_written.set()
            if old is not None and new is not None and old.spec.unschedulable != new.spec.unschedulable:
                tell_of_node(self._events, new, ["NodeNotSchedulable" if new.spec.unschedulable else "NodeSchedulable"])

    async def _keep_lease(self) -> None:
        """Create or renew, for ever: silence of four periods makes the node NotReady. So one attempt may hang for one
        period at most, and after a failure the next one comes soon."""
        lease: Lease | None = None
        failures, again = 0, Backoff(first=0.2, most=2.0)
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(1.0, self._times.lease)):
                    lease = await self._renew(lease)
            except (ApiError, OSError, TimeoutError) as error:
                if not failures:
                    self._log.warning("cannot renew the node's lease, trying on: %s", error or "no answer")
                lease = None
            if lease is None:
                await asyncio.sleep(min(self._times.lease, again.delay(failures, self._rng)))
                failures += 1
                continue
            if failures > 1:
                self._log.info("the node's lease is renewed again, after %d failures", failures)
            failures = 0
            spent = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.1, self._times.lease * (1 - 0.1 * self._rng.random()) - spent))

    async def _renew(self, lease: Lease | None) -> Lease | None:
        spec = LeaseSpec(
            holder_identity=self._who.name,
            lease_duration_seconds=max(1, round(4 * self._times.lease)),
            renew_time=format_micro(self._clock.now()),
        )
        try:
            if lease is None:
                lease = await self._client.get(Lease, self._who.name, LEASE_NAMESPACE)
            return await self._client.update(replace(lease, spec=spec))
        except Conflict:
            return None
        except NotFound:
            meta = ObjectMeta(name=self._who.name, namespace=LEASE_NAMESPACE)
            try:
                return await self._client.create(Lease(metadata=meta, spec=spec))
            except (AlreadyExists, NotFound):
                return None

    # the network

    async def _pod_cidr(self) -> str:
        """Ours by configuration, or else given to the node by a controller."""
        if self._who.pod_cidr:
            return self._who.pod_cidr
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def look(old: Node | None, new: Node | None) -> None:
            mine = new is not None and new.metadata.name == self._who.name
            if new is not None and mine and new.spec.pod_cidr and not found.done():
                found.set_result(new.spec.pod_cidr)

        unsubscribe = self.nodes.subscribe(look)
        try:
            return await found
        finally:
            unsubscribe()

    async def _network(self, cidr: str) -> PodNetwork:
        failures, backoff = 0, Backoff(first=0.5, most=10.0)
        while True:
            try:
                network = await self._make_network(cidr)
                self._mac = await network.setup()
                return network
            except Exception:
                self._log.exception("cannot set the pod network up, trying again")
                await asyncio.sleep(backoff.delay(failures, self._rng))
                failures += 1

    async def _keep_network(self, network: PodNetwork) -> None:
        for informer in (self.nodes, self.services, self.slices):
            await informer.synced.wait()
        self._changed.set()
        while True:
            try:
                async with asyncio.timeout(self._times.verify):
                    await self._changed.wait()
            except TimeoutError:
                if await network.verify():
                    continue
                self._log.warning("the node's network is not as it was left: setting it up again")
                await network.setup()
            await asyncio.sleep(self._times.gather)
            self._changed.clear()
            triggers, self._triggers = self._triggers, []
            try:
                with self._metrics.programming():
                    await network.set_peers(peers_of(list(self.nodes.cache), self._who.name))
                    services, slices = list(self.services.cache), list(self.slices.cache)
                    await network.set_services(service_ports(services, slices, node=self._who.name))
                    await network.set_dns(dns_records(services, slices, domain=self._domain))
            except BaseException:
                self._triggers = [*triggers, *self._triggers]
                self._changed.set()
                raise
            for trigger in triggers:
                self._metrics.programmed((self._clock.now() - trigger).total_seconds())

    def _note_trigger(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        text = new.metadata.annotations.get(LAST_CHANGE, "") if new is not None else ""
        if (
            not text
            or not self.ready.is_set()
            or (old is not None and old.metadata.annotations.get(LAST_CHANGE) == text)
        ):
            return  # what was there before us does not tell how fast we are
        try:
            self._triggers.append(datetime.fromisoformat(text.replace("Z", "+00:00")))
        except ValueError:
            self._log.debug("endpoint slice with an unreadable time of change: %s", text)


def peers_of(nodes: Sequence[Node], me: str) -> list[Peer]:
    """The other nodes that have all the overlay needs to know."""
    peers = []
    for node in nodes:
        mac = node.metadata.annotations.get(VTEP_MAC, "")
        address = next((a.address for a in node.status.addresses if a.type == "InternalIP"), "")
        if node.metadata.name != me and mac and address and node.spec.pod_cidr:
            peers.append(Peer(node.metadata.name, node.spec.pod_cidr, address, mac))
    return sorted(peers, key=lambda peer: peer.node)
