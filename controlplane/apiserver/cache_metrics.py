"""What the watch cache tells of itself, looked up at every scrape: nothing is counted while events pass.

The difference between `apiserver_watch_cache_resource_version` and a client's `reflector_last_resource_version` is how far
that client's informer is behind.
"""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from controlplane.apiserver.cache import HISTORY, WatchCache

CAUSES = ("compacted", "store", "defect")
"""Told from the beginning: of a counter that begins with a failure no alert would see the increase."""


class CacheMetrics(Collector):
    """By resource; one that nobody has asked for has no collection yet."""

    def __init__(self, cache: WatchCache, registry: CollectorRegistry) -> None:
        self._cache = cache
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        by = ["group", "resource"]
        objects = GaugeMetricFamily("apiserver_storage_objects", "Objects in the store.", labels=["resource"])
        watchers = GaugeMetricFamily("sampan_watch_cache_watchers", "Watches that go on now.", labels=by)
        kept = GaugeMetricFamily("sampan_watch_cache_history", "Changes kept for watches that resume.", labels=by)
        capacity = GaugeMetricFamily("watch_cache_capacity", "Changes that are kept at most.", labels=by)
        received = CounterMetricFamily(
            "apiserver_watch_cache_events_received", "Changes that the cache has taken from the store.", labels=by
        )
        cut = CounterMetricFamily(
            "apiserver_terminated_watchers", "Watches cut off because they fell too far behind.", labels=by
        )
        newest = GaugeMetricFamily(
            "apiserver_watch_cache_resource_version", "Of the newest change of this resource.", labels=by
        )
        broke = CounterMetricFamily(
            "sampan_watch_cache_failures",
            "How often mirroring the store broke: compacted, store, defect.",
            labels=["cause"],
        )
        for cause in CAUSES:
            broke.add_metric([cause], self._cache.failures[cause])
        for name in self._cache.names():
            group, resource = group_resource(name)
            of, found = [group, resource], self._cache.collection(name)
            objects.add_metric([f"{resource}.{group}" if group else resource], len(found.items))
            watchers.add_metric(of, len(found.watchers))
            kept.add_metric(of, len(found.steps))
            capacity.add_metric(of, HISTORY)
            received.add_metric(of, found.changes)
            cut.add_metric(of, found.cut_offs)
            newest.add_metric(of, found.steps[-1].revision if found.steps else found.floor)
        return objects, watchers, kept, capacity, received, cut, newest, broke


def group_resource(prefix: str) -> tuple[str, str]:
    """Of /registry/apps/deployments/."""
    _, _, group, resource, *_ = prefix.split("/")
    return "" if group == "core" else group, resource
