"""The scheduler's metrics, under the names that dashboards for kube-scheduler know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeapi.client.metrics import InformerNumbers

ATTEMPT = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0)
LIFE = tuple(0.01 * 2**i for i in range(20))


class Metrics(InformerNumbers, Collector):
    def __init__(self, registry: CollectorRegistry | None = None, *, profile: str = "default-scheduler") -> None:
        """A registry of its own unless one is given, so that one process can hold several schedulers."""
        InformerNumbers.__init__(self, registry or CollectorRegistry(), client="scheduler")
        attempts = Counter(
            "scheduler_schedule_attempts",
            "Attempts to place a pod, by result: scheduled, unschedulable (no node) or error.",
            ["result", "profile"],
            registry=self.registry,
        )
        seconds = Histogram(
            "scheduler_scheduling_attempt_duration_seconds",
            "How long a decision took, without the binding.",
            ["result", "profile"],
            buckets=ATTEMPT,
            registry=self.registry,
        )
        results = ("scheduled", "unschedulable", "error")
        self._attempts = {r: attempts.labels(r, profile) for r in results}
        self._seconds = {r: seconds.labels(r, profile) for r in results}
        self._life = Histogram(
            "scheduler_pod_scheduling_sli_duration_seconds",
            "From a pod's coming into the queue to its being bound, by attempts.",
            ["attempts"],
            buckets=LIFE,
            registry=self.registry,
        )
        self._lives = [self._life.labels(str(n)) for n in range(1, 16)] + [self._life.labels("16+")]
        self._attempts_until_bound = Histogram(
            "scheduler_pod_scheduling_attempts",
            "Attempts until a pod was bound.",
            buckets=(1, 2, 4, 8, 16),
            registry=self.registry,
        )
        self._profile = profile
        self._asked: tuple[Callable[[], Mapping[str, int]], ...] | None = None
        self.registry.register(self)
        self.preemptions = Counter(
            "scheduler_preemption_attempts", "Attempts to make room for a pod.", registry=self.registry
        )
        self.victims = Histogram(
            "scheduler_preemption_victims",
            "Pods sent away for one pod.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )

    def attempt(self, result: str, seconds: float) -> None:
        self._attempts[result].inc()
        self._seconds[result].observe(seconds)

    def bound(self, failures: int, seconds: float) -> None:
        self._lives[min(failures, 15)].observe(seconds)
        self._attempts_until_bound.observe(failures + 1)

    def watch(
        self,
        *,
        queue: Callable[[], Mapping[str, int]],
        refused: Callable[[], Mapping[str, int]],
        cache: Callable[[], Mapping[str, int]],
    ) -> None:
        """All asked at every scrape: pods by queue, pods by the plugin that refused them, what the snapshot holds."""
        self._asked = (queue, refused, cache)

    def collect(self) -> Iterable[Metric]:
        pending = GaugeMetricFamily(
            "scheduler_pending_pods",
            "Pods that want a node: active, in backoff, unschedulable, or gated.",
            labels=["queue"],
        )
        unschedulable = GaugeMetricFamily(
            "scheduler_unschedulable_pods",
            "Pods that found no node, by the filters that refused nodes to them (a pod may have several).",
            labels=["plugin", "profile"],
        )
        size = GaugeMetricFamily(
            "scheduler_cache_size", "Nodes, pods and assumed pods in the scheduler's picture.", labels=["type"]
        )
        queue, refused, cache = ({}, {}, {}) if self._asked is None else (ask() for ask in self._asked)
        for name in ("active", "backoff", "unschedulable", "gated"):
            pending.add_metric([name], queue.get(name, 0))
        for plugin, number in refused.items():
            unschedulable.add_metric([plugin, self._profile], number)
        for kind, number in cache.items():
            size.add_metric([kind], number)
        return pending, unschedulable, size
