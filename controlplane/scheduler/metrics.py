"""The scheduler's metrics, under the names that dashboards for kube-scheduler know."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

ATTEMPT = (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.1, 1.0)
LIFE = tuple(0.01 * 2**i for i in range(20))


class Metrics:
    def __init__(self, registry: CollectorRegistry | None = None, *, profile: str = "default-scheduler") -> None:
        """A registry of its own unless one is given, so that one process can hold several schedulers."""
        self.registry = registry or CollectorRegistry()
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
        self._pending = Gauge(
            "scheduler_pending_pods",
            "Pods that want a node: active, in backoff, unschedulable, or gated.",
            ["queue"],
            registry=self.registry,
        )
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

    def watch_queue(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Asked at every scrape."""
        for queue in ("active", "backoff", "unschedulable", "gated"):
            self._pending.labels(queue).set_function(lambda queue=queue: counts().get(queue, 0))  # type: ignore[misc]
