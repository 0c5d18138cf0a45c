"""What a store tells of itself: how long its answers take by operation and resource, and how it commits.

    Api ──► MeasuredStore ──► EmbeddedStore, EtcdStore ──► measure.batch(): one transaction, of so many writes

The names are those of kube-apiserver for its store, whichever store this is.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator, Sequence
from itertools import accumulate
from time import perf_counter
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.storage.errors import StoreError, StoreFull, StoreUnavailable
from controlplane.storage.interface import Change, Entry, Measure, Page, Recent, Size, Store

log = logging.getLogger(__name__)
T = TypeVar("T")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_GROUP = len("/registry/")
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class _Way:
    """What one operation on one resource has come to."""

    __slots__ = ("buckets", "errors", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.sum = 0.0
        self.errors = 0


class StoreMetrics(Collector):
    """Implements interface.Measure. Counts in plain numbers: a write is told of twice, and each costs it processor time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._size = Histogram(
            "sampan_store_batch_size", "Writes in one transaction.", buckets=SIZES, registry=registry
        )
        self._commit = Histogram(
            "sampan_store_commit_duration_seconds",
            "How long a transaction took until it was durable.",
            buckets=SECONDS,
            registry=registry,
        )
        self._ways: dict[tuple[str, str], _Way] = {}
        """By operation and the beginning of the key that names the resource."""
        registry.register(self)

    def batch(self, writes: int, seconds: float) -> None:
        self._size.observe(writes)
        self._commit.observe(seconds)

    def revision_read(self, seconds: float) -> None:
        self.took("revision", "", seconds)

    def took(self, operation: str, key: str, seconds: float, *, failed: bool = False) -> None:
        at = operation, key[: key.find("/", key.find("/", _GROUP) + 1)]
        way = self._ways.get(at)
        if way is None:
            way = self._ways[at] = _Way()
        way.sum += seconds
        way.buckets[bisect_left(SECONDS, seconds)] += 1
        way.errors += failed

    def collect(self) -> Iterator[Metric]:
        by = ["operation", "type"]
        seconds = HistogramMetricFamily(
            "etcd_request_duration_seconds",
            "How long the store took, from the call to its answer: create, update, delete, get, list, revision.",
            labels=by,
        )
        asked = CounterMetricFamily("etcd_requests", "Requests to the store.", labels=by)
        errors = CounterMetricFamily(
            "etcd_request_errors",
            "Requests that the store could not carry out: it was away, full, or did not confirm. Conflicts are none.",
            labels=by,
        )
        bounds = [*map(str, SECONDS), "+Inf"]
        for (operation, beginning), way in self._ways.items():
            values = [operation, type_of(beginning)]
            buckets = list(zip(bounds, map(float, accumulate(way.buckets)), strict=True))
            seconds.add_metric(values, buckets, way.sum)
            asked.add_metric(values, buckets[-1][1])
            errors.add_metric(values, way.errors)
        yield from (seconds, asked, errors)


class StoreSize(Collector):
    """How large the store is: asked for a scrape, and left out of it where the store does not say in time."""

    def __init__(self, store: Store, registry: CollectorRegistry, *, within: float = 1.0) -> None:
        """`within`: seconds by which a scrape waits for it at most."""
        self._store, self._within = store, within
        self._size: Size | None = None
        registry.register(self)

    async def ask(self) -> None:
        """Before a scrape. Never fails."""
        found = None
        try:
            async with asyncio.timeout(self._within):
                found = await self._store.size()
        except (StoreError, TimeoutError) as error:
            log.debug("the store does not tell its size: %s", error)
        finally:
            self._size = found

    def collect(self) -> Iterator[Metric]:
        size = GaugeMetricFamily(
            "apiserver_storage_size_bytes",
            "What the store takes on its disk, room that is free again counted; of one member of several.",
            labels=["storage_cluster_id"],
        )
        if self._size is not None:
            size.add_metric([f"{self._size.store}-0"], self._size.bytes)
        yield size


class MeasuredStore:
    """A store, measured. What it reads of revisions the store itself measures: it shares one read among many."""

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store, self._metrics = store, metrics
        store.measure = metrics
        self.measure: Measure = metrics
        self.revision, self.latest = store.revision, store.latest

    async def _timed(self, operation: str, key: str, answer: Awaitable[T]) -> T:
        begun, failed = perf_counter(), False
        try:
            return await answer
        except (StoreUnavailable, StoreFull):
            failed = True
            raise
        finally:
            self._metrics.took(operation, key, perf_counter() - begun, failed=failed)

    async def get(self, key: str) -> Entry | None:
        return await self._timed("get", key, self._store.get(key))

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        return await self._timed("list", prefix, self._store.range(prefix, start=start, limit=limit, revision=revision))

    def create(self, key: str, value: bytes) -> Coroutine[Any, Any, int]:
        return self._timed("create", key, self._store.create(key, value))

    def update(self, key: str, value: bytes, *, at: int) -> Coroutine[Any, Any, int]:
        return self._timed("update", key, self._store.update(key, value, at=at))

    def delete(self, key: str, *, at: int) -> Coroutine[Any, Any, int]:
        return self._timed("delete", key, self._store.delete(key, at=at))

    def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:
        return self._store.watch(prefix, after=after, previous=previous)

    async def recent(self, prefix: str, *, upto: int, most: int) -> Recent:
        return await self._store.recent(prefix, upto=upto, most=most)

    async def size(self) -> Size | None:
        return await self._store.size()

    async def compact(self, revision: int) -> None:
        await self._store.compact(revision)

    async def close(self) -> None:
        await self._store.close()


def type_of(key: str) -> str:
    """deployments.apps of /registry/apps/deployments/…; empty where a key tells no resource."""
    parts = key.split("/", 4)
    if len(parts) < 4 or parts[1] != "registry":
        return ""
    return parts[3] if parts[2] in ("core", "") else f"{parts[3]}.{parts[2]}"
