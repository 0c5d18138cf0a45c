"""What the node's containers use, per pod: CPU as cores since somebody last asked, memory as of now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubeapi.pb.sampan.v1 import node_pb2 as pb
from node_agent.runtimes.interface import Container

Usage = Mapping[str, tuple[float, int]]
"""By container id: CPU seconds so far, bytes in use."""


MACHINE = ""
"""Stands for the whole machine, in place of a container's id."""
IDLE = (0.02, 256 << 20)
"""Cores and bytes that a hollow node without pods is said to use: what a real one does, with its agent and system."""


class Rates:
    _last: dict[str, tuple[float, float]]
    """By container id: when its CPU time was last read, and what it was."""

    def __init__(self) -> None:
        self._last = {}
        self.window = 0.0
        """Seconds that the last answer was averaged over; 0: nobody had asked before."""

    def since_last(self, usage: Usage, now: float) -> dict[str, float]:
        """Cores, by container id; 0 the first time."""
        rates = {}
        for container_id, (cpu, _) in usage.items():
            then, before = self._last.get(container_id, (now, cpu))
            rates[container_id] = max(0.0, (cpu - before) / (now - then)) if now > then else 0.0
        self.window = max((now - then for then, _ in self._last.values()), default=0.0)
        self._last = {container_id: (now, cpu) for container_id, (cpu, _) in usage.items()}
        return rates


def stats_reply(
    node: str,
    now: datetime,
    usage: Usage,
    rates: Mapping[str, float],
    by_pod: Mapping[str, Sequence[Container]],
    *,
    window: float = 0.0,
) -> Any:
    """Of the node: what `usage` says of the machine; else what an idle one would need, and its containers."""
    pods, (cores, memory) = [], IDLE
    for uid, containers in by_pod.items():
        stats = []
        for container in containers:
            if container.id not in usage:
                continue
            cores += rates[container.id]
            memory += usage[container.id][1]
            if container.kind != "sandbox":
                cpu, used = rates[container.id], usage[container.id][1]
                stats.append(pb.ContainerStats(name=container.name, cpu_cores=cpu, memory_bytes=used))
        if stats:
            first = containers[0]
            pods.append(pb.PodStats(namespace=first.pod_namespace, name=first.pod_name, uid=uid, containers=stats))
    if MACHINE in usage:
        cores, memory = rates[MACHINE], usage[MACHINE][1]
    return pb.StatsReply(
        node=node,
        timestamp=now.isoformat().replace("+00:00", "Z"),
        window_seconds=window,
        cpu_cores=cores,
        memory_bytes=memory,
        pods=pods,
    )
