"""metrics.k8s.io: what nodes and pods use, asked of the nodes' agents when somebody asks us, and only then.

    top ─► Usage ── per node: a sample not older than FRESH, else ask its agent ─► NodeMetrics, PodMetrics

CPU is a rate, which needs two looks. An agent counts since it was last asked; where that was too long ago to say
anything about now (or never), it is asked twice, FIRST_WINDOW apart, and the first answer is thrown away. A node that
does not answer in time is left out, as metrics-server does: better the others' numbers than none.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from controlplane.apiserver.items import Item, ListResult
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, NotFound
from kubeapi.meta import replace
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.scheme import Resource
from kubeapi.selectors import parse_label_selector
from kubeapi.types.core_v1 import Node, Pod
from kubeapi.types.meta_v1 import ObjectMeta
from kubeapi.types.metrics_v1beta1 import ContainerMetrics, NodeMetrics, PodMetrics

GROUP = "metrics.k8s.io"
FRESH = 10.0
"""Seconds that a sample is given out for."""
STALE = 60.0
"""Seconds after which the time since the last sample is no window to average over."""
FIRST_WINDOW = 1.0
PATIENCE = 3.0
"""Seconds that an agent has for one answer."""
AT_ONCE = 64
"""Agents asked at the same time."""

log = logging.getLogger("sampan.usage")


class Link(Protocol):
    def agent_on(self, name: str) -> AbstractAsyncContextManager[Any]: ...


@dataclass(frozen=True, slots=True)
class Sample:
    reply: Any
    taken: float
    at: datetime
    window: float
    """Seconds that its CPU is averaged over."""


class Usage:
    def __init__(self, link: Link, *, clock: Clock) -> None:
        self._link, self._clock = link, clock
        self._samples: dict[str, Sample] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        """By node: who asks while another does waits for that answer."""
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def nodes(self, nodes: Iterable[Node]) -> list[NodeMetrics]:
        known = {node.metadata.name: node for node in nodes}
        samples = await self._of(known)
        return [_node_metrics(node, samples[name]) for name, node in known.items() if name in samples]

    async def pods(self, pods: Iterable[Pod]) -> list[PodMetrics]:
        """Only of those that run and that their node has told of."""
        wanted = [pod for pod in pods if pod.spec.node_name and pod.status.phase == "Running"]
        samples = await self._of({pod.spec.node_name for pod in wanted})
        by_uid = {stats.uid: (stats, sample) for sample in samples.values() for stats in sample.reply.pods}
        return [_pod_metrics(pod, *by_uid[pod.metadata.uid]) for pod in wanted if pod.metadata.uid in by_uid]

    def keep(self, names: set[str]) -> None:
        """Forgets nodes that are gone."""
        for name in self._samples.keys() - names:
            del self._samples[name]
            self._locks.pop(name, None)

    async def _of(self, names: Iterable[str]) -> dict[str, Sample]:
        wanted = sorted(names)
        found = await asyncio.gather(*map(self._sample, wanted))
        return {name: sample for name, sample in zip(wanted, found, strict=True) if sample is not None}

    async def _sample(self, name: str) -> Sample | None:
        async with self._locks.setdefault(name, asyncio.Lock()), self._gate:
            old = self._samples.get(name)
            if old is not None and self._clock.monotonic() - old.taken < FRESH:
                return old
            try:
                if old is None or self._clock.monotonic() - old.taken > STALE:
                    old = await self._ask(name, None)
                    await asyncio.sleep(FIRST_WINDOW)
                sample = self._samples[name] = await self._ask(name, old)
            except (ApiError, TimeoutError) as error:
                log.info("node=%s no usage: %s", name, error or "no answer in time")
                return None
            return sample

    async def _ask(self, name: str, before: Sample | None) -> Sample:
        async with asyncio.timeout(PATIENCE), self._link.agent_on(name) as stub:
            reply = await stub.Stats(pb.StatsRequest())
        now = self._clock.monotonic()
        return Sample(reply, now, self._clock.now().replace(microsecond=0), now - before.taken if before else 0.0)


class UsageApi:
    """The two read-only resources, over what the API itself holds of nodes and pods."""

    def __init__(self, usage: Usage, api: Any, *, nodes: Resource, pods: Resource) -> None:
        self._usage, self._api = usage, api
        self._nodes, self._pods = nodes, pods

    async def get(self, ctx: Any, resource: Resource, namespace: str, name: str) -> Item:
        """Raises NotFound: no such object, or nothing is known of it."""
        stored = self._nodes if resource.plural == "nodes" else self._pods
        item = await self._api.get(ctx, stored, namespace, name)
        found = await self._measure(resource, [item.object])
        if not found:
            raise NotFound(f'{resource.plural}.{GROUP} "{name}" not found')
        return _item(found[0])

    async def list(self, ctx: Any, resource: Resource, namespace: str, label_selector: str = "") -> ListResult:
        parse_label_selector(label_selector)
        stored = self._nodes if resource.plural == "nodes" else self._pods
        listing = await self._api.list(ctx, stored, namespace, label_selector=label_selector, resource_version="0")
        if stored is self._nodes and not label_selector:
            self._usage.keep({item.object.metadata.name for item in listing.items})
        found = await self._measure(resource, [item.object for item in listing.items])
        return ListResult([_item(one) for one in found], listing.revision)

    async def _measure(self, resource: Resource, objects: Sequence[Any]) -> Sequence[NodeMetrics | PodMetrics]:
        return await (self._usage.nodes(objects) if resource.plural == "nodes" else self._usage.pods(objects))


def _item(obj: NodeMetrics | PodMetrics) -> Item:
    return Item(f"/{obj.kind}/{obj.metadata.namespace}/{obj.metadata.name}", obj, 0)


def _meta(obj: Node | Pod, sample: Sample) -> ObjectMeta:
    meta = ObjectMeta(name=obj.metadata.name, namespace=obj.metadata.namespace, labels=obj.metadata.labels)
    return replace(meta, creation_timestamp=sample.at)


def _amounts(cores: float, memory: int) -> dict[str, str | int | float]:
    return {"cpu": f"{round(cores * 1e9)}n", "memory": f"{memory >> 10}Ki"}


def _node_metrics(node: Node, sample: Sample) -> NodeMetrics:
    return NodeMetrics(
        metadata=_meta(node, sample),
        timestamp=sample.at,
        window=f"{sample.window:.3f}s",
        usage=_amounts(sample.reply.cpu_cores, sample.reply.memory_bytes),
    )


def _pod_metrics(pod: Pod, stats: Any, sample: Sample) -> PodMetrics:
    return PodMetrics(
        metadata=_meta(pod, sample),
        timestamp=sample.at,
        window=f"{sample.window:.3f}s",
        containers=[
            ContainerMetrics(name=c.name, usage=_amounts(c.cpu_cores, c.memory_bytes)) for c in stats.containers
        ],
    )
