"""The metrics of queues and reconcilers, under the names that dashboards for Kubernetes and controller-runtime know.

Labels are names of queues and controllers, and results: never an object's name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

QUEUE_BUCKETS = tuple(1e-8 * 10**i for i in range(10))
"""10 ns to 10 s, as client-go has them."""
WORK_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Implements kubeapi.client.controller.ControllerMetrics."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own unless one is given, so that one process can hold several managers."""
        self.registry = registry or CollectorRegistry()
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker.", ["name"], registry=self.registry)
        self._adds = Counter("workqueue_adds", "Keys added.", ["name"], registry=self.registry)
        self._retries = Counter(
            "workqueue_retries", "Keys added again after a failure.", ["name"], registry=self.registry
        )
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "From a key's coming into the queue to its being handed out.",
            ["name"],
            buckets=QUEUE_BUCKETS,
            registry=self.registry,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long a key was worked on.",
            ["name"],
            buckets=QUEUE_BUCKETS,
            registry=self.registry,
        )
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

    def added(self, queue: str) -> None:
        self._adds.labels(queue).inc()
        self._depth.labels(queue).inc()

    def retried(self, queue: str) -> None:
        self._retries.labels(queue).inc()

    def handed_out(self, queue: str, waited: float) -> None:
        self._depth.labels(queue).dec()
        self._waited.labels(queue).observe(waited)

    def finished(self, queue: str, worked: float) -> None:
        self._worked.labels(queue).observe(worked)

    def reconciled(self, controller: str, result: str, seconds: float) -> None:
        self._reconciled.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()

    def reset(self) -> None:
        """A new term of office begins with empty queues."""
        self._depth.clear()
