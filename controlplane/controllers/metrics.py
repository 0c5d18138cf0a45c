"""The metrics of queues, reconcilers and informers, under the names that dashboards for Kubernetes and controller-runtime know.

Labels are names of queues and controllers, and results: never an object's name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeapi.client.metrics import InformerNumbers, QueueNumbers

WORK_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RESULTS = ("success", "requeue_after", "conflict", "error")


class Metrics(InformerNumbers, QueueNumbers):
    """Implements kubeapi.client.controller.ControllerMetrics."""

    def __init__(self, registry: CollectorRegistry | None = None, *, client: str = "controllers") -> None:
        """A registry of its own unless one is given, so that one process can hold several managers."""
        self.registry = registry or CollectorRegistry()
        InformerNumbers.__init__(self, self.registry, client=client)
        QueueNumbers.__init__(self, self.registry)
        self._reconciled = Counter(
            "controller_runtime_reconcile",
            "Reconciliations by result: success, requeue_after, conflict or error.",
            ["controller", "result"],
            registry=self.registry,
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors",
            "Reconciliations that failed.",
            ["controller"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconciliation took.",
            ["controller"],
            buckets=WORK_BUCKETS,
            registry=self.registry,
        )
        self._active = Gauge(
            "controller_runtime_active_workers", "Reconciliations under way.", ["controller"], registry=self.registry
        )
        self._workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciliations that may be under way at once.",
            ["controller"],
            registry=self.registry,
        )

    def employed(self, controller: str, workers: int) -> None:
        """A controller that never fails shows its zeros: else the first failure would be no increase."""
        self._workers.labels(controller).set(workers)
        self._active.labels(controller).set(0)
        self._errors.labels(controller)
        for result in RESULTS:
            self._reconciled.labels(controller, result)

    def reconciling(self, controller: str, more: int) -> None:
        self._active.labels(controller).inc(more)

    def reconciled(self, controller: str, result: str, seconds: float) -> None:
        self._reconciled.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()

    def reset(self) -> None:
        """A new term of office begins with empty queues."""
        self._depth.clear()
        self._queues.clear()
