"""How many nodes are Ready, by zone, under the names of Kubernetes' node lifecycle controller. Counted when somebody scrapes.

    informer's cache ──(scrape)──► zones_of ──► node_collector_zone_size, _unhealthy_nodes_in_zone, _zone_health

Only the manager that leads sees nodes; one that waits tells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeapi.meta import is_true
from kubeapi.types.core_v1 import Node

REGIONS = ("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region")
ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")

Nodes = Callable[[], Iterable[Node]]


@dataclass(slots=True)
class Zone:
    size: int = 0
    unhealthy: int = 0
    """Whose condition Ready is not True: False, Unknown, or never told."""

    @property
    def health(self) -> float:
        return 100.0 * (self.size - self.unhealthy) / self.size


def zones_of(nodes: Iterable[Node]) -> dict[str, Zone]:
    zones: dict[str, Zone] = {}
    for node in nodes:
        zone = zones.setdefault(zone_of(node.metadata.labels), Zone())
        zone.size += 1
        zone.unhealthy += not is_true(node.status.conditions, "Ready")
    return zones


def zone_of(labels: Mapping[str, str]) -> str:
    """REGION::ZONE, empty without either. As Kubernetes shows it; the NUL that it hides between the colons we leave out."""
    region, zone = (next((labels[key] for key in keys if labels.get(key)), "") for keys in (REGIONS, ZONES))
    return f"{region}::{zone}" if region or zone else ""


class ZoneNumbers(Collector):
    def __init__(self, registry: CollectorRegistry) -> None:
        self._nodes: Nodes | None = None
        registry.register(self)

    def watched(self, nodes: Nodes | None) -> None:
        """`nodes`: asked at every scrape. None: nobody looks at them any longer."""
        self._nodes = nodes

    def collect(self) -> Iterable[Metric]:
        by = ["zone"]
        size = GaugeMetricFamily("node_collector_zone_size", "Nodes, by zone (region::zone).", labels=by)
        unhealthy = GaugeMetricFamily(
            "node_collector_unhealthy_nodes_in_zone", "Nodes whose condition Ready is not True, by zone.", labels=by
        )
        health = GaugeMetricFamily(
            "node_collector_zone_health", "Of a hundred nodes of a zone, how many are Ready.", labels=by
        )
        for name, zone in zones_of(self._nodes() if self._nodes is not None else ()).items():
            size.add_metric([name], zone.size)
            unhealthy.add_metric([name], zone.unhealthy)
            health.add_metric([name], zone.health)
        return size, unhealthy, health
