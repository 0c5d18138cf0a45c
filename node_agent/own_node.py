"""The node's own object in the API: registered, its status kept true, and watched for what others write to it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf

from msgspec.structs import replace

from kubeapi.client.events import EventRecorder
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import AlreadyExists, Conflict, NotFound
from kubeapi.types.core_v1 import Node, NodeStatus
from node_agent.node_object import Machine, NodeIdentity, adopted, new_node, node_status, same_but_for_heartbeat
from node_agent.pod_events import changes_of_node, tell_of_node
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import ImageInfo, Runtime
from node_agent.vitals import Vitals

RUNTIME_PATIENCE = 30.0
"""Seconds that the container runtime may be away before the node is not ready, as for kubelet: its pods run on meanwhile."""


class OwnNode:
    def __init__(
        self,
        *,
        who: NodeIdentity,
        machine: Machine,
        nodes: Informer[Node],
        period: float,
        client: Client,
        runtime: Runtime,
        vitals: Callable[[], Vitals] | None,
        events: EventRecorder,
        clock: Clock,
    ) -> None:
        """`period`: seconds between two looks at the status. `vitals` blocks shortly; None: never under pressure."""
        self._who, self._machine, self._nodes, self._period = who, machine, nodes, period
        self._client, self._runtime, self._vitals = client, runtime, vitals
        self._events, self._clock = events, clock
        self._runtime_version = ""
        self._mac = ""
        self._networked = False
        self._told_start = False
        self._status_written = 0.0
        self._lost_at: float | None = None
        """Since when the container runtime has been away."""
        self._images: Sequence[ImageInfo] = ()
        self._changed = asyncio.Event()
        """Somebody wrote the Node, perhaps we; or there may be something new to tell."""

    async def ask_runtime(self) -> None:
        self._runtime_version = await self._runtime.version()

    def networked(self, mac: str) -> None:
        """Its pod network stands; `mac` is the tunnel's end. Register again: others learn it from the Node."""
        self._mac, self._networked = mac, True

    def runtime_lost(self) -> None:
        self._lost_at = self._clock.monotonic()
        self._changed.set()

    def runtime_back(self) -> None:
        self._lost_at = None
        self._changed.set()

    def _patience(self) -> float:
        """Seconds for which the node may go on without its runtime; with it, for ever."""
        return inf if self._lost_at is None else self._lost_at + RUNTIME_PATIENCE - self._clock.monotonic()

    def _look_again(self) -> float:
        patience = self._patience()
        return min(self._period, patience) if patience > 0 else self._period

    async def register(self) -> None:
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
                return await self.register()
        if not self._told_start:
            self._told_start = True
            self._events.event(node, "Normal", "Starting", "Starting kubelet.")
        await self._write_status(node)

    async def pod_cidr(self) -> str:
        """Ours by configuration, or else given to the node by a controller."""
        if self._who.pod_cidr:
            return self._who.pod_cidr
        found: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def look(old: Node | None, new: Node | None) -> None:
            mine = new is not None and new.metadata.name == self._who.name
            if new is not None and mine and new.spec.pod_cidr and not found.done():
                found.set_result(new.spec.pod_cidr)

        unsubscribe = self._nodes.subscribe(look)
        try:
            return await found
        finally:
            unsubscribe()

    def listen(self) -> None:
        self._nodes.subscribe(self._look)

    async def keep_status(self) -> None:
        """Looks when it is time, and when somebody else wrote our Node: that we are given up for dead is put right at once."""
        while True:
            self._changed.clear()
            node = self._nodes.cache.find(self._who.name)
            if node is None:
                await self.register()
            else:
                wanted = await self._status_now(node.status)
                due = self._clock.monotonic() - self._status_written >= 5 * self._period
                if due or not same_but_for_heartbeat(wanted, node.status):
                    await self._write_status(node)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_again()):
                    await self._changed.wait()

    def _look(self, old: Node | None, new: Node | None) -> None:
        if (new or old).metadata.name == self._who.name:  # type: ignore[union-attr]
            self._changed.set()
            if old is not None and new is not None and old.spec.unschedulable != new.spec.unschedulable:
                tell_of_node(self._events, new, ["NodeNotSchedulable" if new.spec.unschedulable else "NodeSchedulable"])

    def _unready(self) -> str:
        if not self._networked:
            return "the pod network is not ready"
        return "container runtime is down" if self._patience() <= 0 else ""

    async def _status_now(self, old: NodeStatus | None) -> NodeStatus:
        await self._look_at_images()
        return node_status(
            self._who,
            self._machine,
            runtime_version=self._runtime_version,
            old=old,
            images=self._images,
            unready=self._unready(),
            now=self._clock.now().replace(microsecond=0),
            vitals=await asyncio.to_thread(self._vitals) if self._vitals is not None else None,
            networked=self._networked,
        )

    async def _look_at_images(self) -> None:
        """What the runtime had is true enough until it is back. One that hangs keeps its stream of events, and is found out here."""
        begun = self._clock.monotonic()
        try:
            self._images = await self._runtime.images()
            self._lost_at = None
        except RuntimeFault:
            self._lost_at = begun if self._lost_at is None else self._lost_at

    async def _write_status(self, node: Node) -> None:
        while True:
            wanted = await self._status_now(node.status)
            changed = list(changes_of_node(node.status.conditions, wanted.conditions))
            try:
                await self._client.update(replace(node, status=wanted), subresource="status")
            except Conflict:
                node = await self._client.get(Node, self._who.name)
                continue
            self._status_written = self._clock.monotonic()
            tell_of_node(self._events, node, changed)
            return
