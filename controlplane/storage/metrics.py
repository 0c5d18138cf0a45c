"""What a store tells of itself: how long its answers take by operation and resource, and how it commits.

    Api ──► MeasuredStore ──► EmbeddedStore, EtcdStore ──► measure.batch(): one transaction, of so many writes

The names are those of kube-apiserver for its store, whichever store this is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from time import perf_counter
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from controlplane.storage.errors import StoreFull, StoreUnavailable
from controlplane.storage.interface import Change, Entry, Measure, Page, Recent, Store

T = TypeVar("T")
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class StoreMetrics:
    """Implements interface.Measure."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ["operation", "type"]
        self._seconds = Histogram(
            "etcd_request_duration_seconds",
            "How long the store took, from the call to its answer: create, update, delete, get, list, revision.",
            by,
            buckets=SECONDS,
            registry=registry,
        )
        self._asked = Counter("etcd_requests", "Requests to the store.", by, registry=registry)
        self._errors = Counter(
            "etcd_request_errors",
            "Requests that the store could not carry out: it was away, full, or did not confirm. Conflicts are none.",
            by,
            registry=registry,
        )
        self._size = Histogram(
            "sampan_store_batch_size", "Writes in one transaction.", buckets=SIZES, registry=registry
        )
        self._commit = Histogram(
            "sampan_store_commit_duration_seconds",
            "How long a transaction took until it was durable.",
            buckets=SECONDS,
            registry=registry,
        )
        self._ways: dict[tuple[str, str], tuple[Histogram, Counter, Counter]] = {}

    def batch(self, writes: int, seconds: float) -> None:
        self._size.observe(writes)
        self._commit.observe(seconds)

    def revision_read(self, seconds: float) -> None:
        self.took("revision", "", seconds)

    def took(self, operation: str, type_: str, seconds: float, *, failed: bool = False) -> None:
        by = (operation, type_)
        found = self._ways.get(by)
        if found is None:
            found = self._ways[by] = (self._seconds.labels(*by), self._asked.labels(*by), self._errors.labels(*by))
        found[0].observe(seconds)
        found[1].inc()
        if failed:
            found[2].inc()


class MeasuredStore:
    """A store, measured. What it reads of revisions the store itself measures: it shares one read among many."""

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store, self._metrics = store, metrics
        store.measure = metrics
        self.measure: Measure = metrics
        self.revision = store.revision

    async def _timed(self, operation: str, key: str, answer: Awaitable[T]) -> T:
        begun, failed = perf_counter(), False
        try:
            return await answer
        except (StoreUnavailable, StoreFull):
            failed = True
            raise
        finally:
            self._metrics.took(operation, type_of(key), perf_counter() - begun, failed=failed)

    async def get(self, key: str) -> Entry | None:
        return await self._timed("get", key, self._store.get(key))

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        return await self._timed("list", prefix, self._store.range(prefix, start=start, limit=limit, revision=revision))

    async def create(self, key: str, value: bytes) -> int:
        return await self._timed("create", key, self._store.create(key, value))

    async def update(self, key: str, value: bytes, *, at: int) -> int:
        return await self._timed("update", key, self._store.update(key, value, at=at))

    async def delete(self, key: str, *, at: int) -> int:
        return await self._timed("delete", key, self._store.delete(key, at=at))

    def watch(self, prefix: str, *, after: int) -> AsyncIterator[Sequence[Change]]:
        return self._store.watch(prefix, after=after)

    async def recent(self, prefix: str, *, upto: int, most: int) -> Recent:
        return await self._store.recent(prefix, upto=upto, most=most)

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
