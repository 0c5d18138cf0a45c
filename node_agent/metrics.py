"""The node's metrics, under the names that dashboards for kubelet and kube-proxy know.

Labels hold kinds and results only, never names of pods.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from kubeapi.client.metrics import ControllerNumbers
from node_agent.runtimes.interface import Container

WORK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
START = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
STAGE = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
KINDS = {"app": "container", "init": "init_container", "ephemeral": "ephemeral_container"}
PROGRAMMING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)


STAGES = {
    "pull_image": "pull",
    "run_podsandbox": "sandbox",
    "create_container": "create",
    "start_container": "start",
}
"""Operations of the runtime that are stages of a pod's start."""


class NodeMetrics(ControllerNumbers):
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own unless one is given, so that one process can hold several nodes."""
        super().__init__(registry or CollectorRegistry(), client="node")
        self._pod_start = Histogram(
            "kubelet_pod_start_duration_seconds",
            "From the moment the node first saw a pod to the moment all its containers had started.",
            buckets=START,
            registry=self.registry,
        )
        self._pod_start_sli = Histogram(
            "kubelet_pod_start_sli_duration_seconds",
            "From a pod's creation (where that was more than a second before the node saw it, else from then: it is told in "
            "whole seconds) to the start of all its containers, without the time that images were pulled.",
            buckets=START,
            registry=self.registry,
        )
        self._stages = Histogram(
            "sampan_pod_start_stage_duration_seconds",
            "Stages of starting: volumes, sandbox, network, pull, create, start (each of a container, restarts among them), "
            "and ready: from the start of all containers until all are ready.",
            ["stage"],
            buckets=STAGE,
            registry=self.registry,
        )
        self._pods_started = Counter(
            "kubelet_started_pods", "Pods whose sandbox was to be made.", registry=self.registry
        )
        self._pods_failed = Counter(
            "kubelet_started_pods_errors", "Sandboxes that could not be made.", registry=self.registry
        )
        self._not_started = Counter(
            "kubelet_started_containers_errors",
            "Containers that could not be started, by reason.",
            ["container_type", "code"],
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

    def pod_started(self, seconds: float, *, unseen: float, pulling: float) -> None:
        """`unseen`: before the node saw it. `pulling`: of the time since then, for images."""
        self._pod_start.observe(seconds)
        self._pod_start_sli.observe(max(0.0, unseen + seconds - pulling))

    def pod_ready(self, seconds: float) -> None:
        """After all containers had started."""
        self._stages.labels("ready").observe(seconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begun = perf_counter()
        yield
        self._stages.labels(name).observe(perf_counter() - begun)

    @contextmanager
    def sandbox(self) -> Iterator[None]:
        self._pods_started.inc()
        try:
            with self.runtime_operation("run_podsandbox"):
                yield
        except Exception:
            self._pods_failed.inc()
            raise

    def container_started(self, kind: str, *, attempt: int) -> None:
        self._started.labels(KINDS[kind]).inc()
        if attempt:
            self._restarted.labels(KINDS[kind]).inc()

    def container_refused(self, kind: str, code: str) -> None:
        self._not_started.labels(KINDS[kind], code).inc()

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
        seconds = perf_counter() - begun
        self._operations.labels(operation).observe(seconds)
        if operation in STAGES:
            self._stages.labels(STAGES[operation]).observe(seconds)

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
