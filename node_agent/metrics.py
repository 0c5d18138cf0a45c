"""The node's metrics, under the names that dashboards for kubelet and kube-proxy know.

Labels hold kinds and results only, never names of pods.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from node_agent.runtimes.interface import Container

WORK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
START = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
PROGRAMMING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


class NodeMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own unless one is given, so that one process can hold several nodes."""
        self.registry = registry or CollectorRegistry()
        self._pod_start = Histogram(
            "kubelet_pod_start_duration_seconds",
            "From the moment the node first saw a pod to the moment all its containers had started.",
            buckets=START,
            registry=self.registry,
        )
        self._pod_worker = Histogram(
            "kubelet_pod_worker_duration_seconds",
            "How long one look at a pod took, with what was done about it: sync or terminating.",
            ["operation_type"],
            buckets=WORK,
            registry=self.registry,
        )
        self._operations = Histogram(
            "kubelet_runtime_operations_duration_seconds",
            "How long the container runtime took, by operation.",
            ["operation_type"],
            buckets=WORK,
            registry=self.registry,
        )
        self._failures = Counter(
            "kubelet_runtime_operations_errors",
            "Operations that the container runtime refused or did not finish.",
            ["operation_type"],
            registry=self.registry,
        )
        self._started = Counter(
            "kubelet_started_containers",
            "Containers started, restarts among them.",
            ["container_type"],
            registry=self.registry,
        )
        self._restarted = Counter(
            "sampan_container_restarts",
            "Containers started that had run before.",
            ["container_type"],
            registry=self.registry,
        )
        self._pods = Gauge("kubelet_running_pods", "Pods with a running sandbox.", registry=self.registry)
        self._containers = Gauge(
            "kubelet_running_containers",
            "Containers, by state.",
            ["container_state"],
            registry=self.registry,
        )
        self._programming = Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From the change of a pod or service to the rules for it, where the endpoint slice says when that was.",
            buckets=PROGRAMMING,
            registry=self.registry,
        )
        self._rules = Histogram(
            "kubeproxy_sync_proxy_rules_duration_seconds",
            "How long it took to bring rules and names up to date.",
            buckets=WORK,
            registry=self.registry,
        )

    def pod_started(self, seconds: float) -> None:
        self._pod_start.observe(seconds)

    def container_started(self, kind: str, *, attempt: int) -> None:
        name = {"app": "container", "init": "init_container", "ephemeral": "ephemeral_container"}[kind]
        self._started.labels(name).inc()
        if attempt:
            self._restarted.labels(name).inc()

    @contextmanager
    def pod_work(self, operation: str) -> Iterator[None]:
        with self._pod_worker.labels(operation).time():
            yield

    @contextmanager
    def runtime_operation(self, operation: str) -> Iterator[None]:
        """What is cancelled counts neither as done nor as failed."""
        begun = perf_counter()
        try:
            yield
        except Exception:
            self._failures.labels(operation).inc()
            raise
        self._operations.labels(operation).observe(perf_counter() - begun)

    def runs(self, found: Mapping[str, list[Container]]) -> None:
        """All containers of ours, by pod."""
        every = [container for containers in found.values() for container in containers]
        self._pods.set(sum(c.kind == "sandbox" and c.state == "running" for c in every))
        for state in ("created", "running", "exited"):
            self._containers.labels(state).set(sum(c.kind != "sandbox" and c.state == state for c in every))

    @contextmanager
    def programming(self) -> Iterator[None]:
        with self._rules.time():
            yield

    def programmed(self, seconds: float) -> None:
        """Since the change that the rules now follow."""
        self._programming.observe(max(0.0, seconds))
