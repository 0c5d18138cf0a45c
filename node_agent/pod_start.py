"""How long a pod took to start, and then to be ready: measured once each, with what no node can help left out."""

from kubeapi.clock import Clock
from kubeapi.types.core_v1 import Pod, PodStatus
from node_agent.metrics import NodeMetrics


class PodStart:
    def __init__(self, pod: Pod, *, clock: Clock, metrics: NodeMetrics) -> None:
        """When the pod is seen for the first time."""
        self._clock, self._metrics = clock, metrics
        self._seen = clock.monotonic()
        created = pod.metadata.creation_timestamp
        self._unseen = max(0.0, (clock.now() - created).total_seconds()) if created is not None else 0.0
        """Seconds from its creation until we saw it; less than one is not known, for creation is told in whole ones."""
        self._started_at: float | None = None
        """When all its containers had started; None before, and once it was ready."""
        self._counted = pod.status.phase not in ("", "Pending")
        """Whether its start has been measured; one that ran before we came has no measurable start."""

    def look(self, status: PodStatus, *, pulling: float) -> None:
        """At a status that is to be written. `pulling`: seconds spent on images so far."""
        if status.phase == "Running" and not self._counted:
            self._counted = True
            self._started_at = now = self._clock.monotonic()
            unseen = self._unseen if self._unseen >= 1 else 0.0
            self._metrics.pod_started(now - self._seen, unseen=unseen, pulling=pulling)
        if self._started_at is not None and any(c.type == "Ready" and c.status == "True" for c in status.conditions):
            self._metrics.pod_ready(self._clock.monotonic() - self._started_at)
            self._started_at = None
