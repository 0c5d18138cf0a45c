#!/usr/bin/env python3
"""Writes docs/metrics.md from the registries themselves: `hack/metrics.py` makes it anew, `--check` says whether it differs.

A metric that is not in the document fails tests/unit/test_metrics_document.py; what a running component tells is held
against it in tests/component. So the document is what there is.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from controlplane.apiserver.cache import WatchCache
from controlplane.apiserver.cache_metrics import CacheMetrics
from controlplane.apiserver.doors.metrics import Metrics as ApiServerMetrics
from controlplane.controllers.metrics import Metrics as ControllersMetrics
from controlplane.scheduler.metrics import Metrics as SchedulerMetrics
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.metrics import StoreMetrics, StoreSize
from kubeapi.clock import SystemClock
from kubeapi.metrics import Certificates
from node_agent.metrics import NodeMetrics
from sampan import election, health
from sampan.node import CLIENT_TTL

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
ABOUT = """\
# Metrics

Written by `hack/metrics.py` from the registries; a test fails where it and they differ.

Names and labels are Kubernetes' own where Kubernetes has the metric, so that dashboards and alerts made for it work;
`sampan_` stands before what only we have. Labels hold kinds, verbs, reasons and results, never names of objects.

| component | where |
|---|---|
| API server | `/metrics` of its HTTPS door, for who may `get` that path |
| scheduler, controllers | `/metrics` at `--metrics-address`, plain HTTP, with `/healthz`, `/livez` and `/readyz`; of `sampan controlplane` both on one page |
| node | the same flag; and through the API server at `/api/v1/nodes/NAME/proxy/metrics`, for who may `get nodes/proxy` |

A node's own port speaks gRPC to the API server alone (mutual TLS), so there is no HTTPS at `:10250` to be scraped: the way
through the API server is the one that needs no further certificate and no further open port.

What our names do not say by themselves:

- **Informer lag.** `sampan_informer_lag_seconds` runs from a change's coming into the API server's watch cache until the
  informer's cache shows it: the server tells how long it had known of what it sends, so clocks need not agree. How many
  revisions an informer is behind:
  `max by (group, resource) (apiserver_watch_cache_resource_version) - on (group, resource) group_right () reflector_last_resource_version`.
- **Network programming.** `kubeproxy_network_programming_duration_seconds` runs from the annotation
  `endpoints.kubernetes.io/last-change-trigger-time` of an endpoint slice to the rules for it. Pods tell in whole seconds when
  they became ready; a transition of the very second counts from when the controller saw it.
- **Requests of clients.** `rest_client_*` count at the client, `apiserver_request_*` at the server. Ours speak gRPC: `method` and
  `verb` are the HTTP method that the call stands for, `host` is what was dialled (`in-process` where client and server are one
  process), `client` is whose it is; each write of a batch is a request.
- **Nodes' health.** `node_collector_*` come from the manager that leads: `sum(node_collector_unhealthy_nodes_in_zone)` are the
  nodes whose condition Ready is not True, whether they answer (their engine is dead) or not. `zone` is `REGION::ZONE` of the
  nodes' labels, empty without them.
- **Pod starts.** `kubelet_pod_start_duration_seconds` begins when the node sees the pod, `kubelet_pod_start_sli_duration_seconds`
  with the pod's creation and leaves out pulling images; `sampan_pod_start_stage_duration_seconds` has the stages.
"""


@dataclass(frozen=True, order=True)
class Told:
    name: str
    """As a scrape shows it: of a counter with _total."""
    kind: str
    labels: tuple[str, ...]
    text: str


def api_server(registry: CollectorRegistry) -> None:
    ApiServerMetrics(registry)
    CacheMetrics(
        WatchCache(store=EmbeddedStore(), decode=lambda key, value: None, rng=Random(0), clock=SystemClock()), registry
    )
    StoreMetrics(registry)
    StoreSize(EmbeddedStore(), registry)
    Certificates(registry)


def leading(registry: CollectorRegistry) -> None:
    election.observe(None, registry)
    health.show_client(registry, cert=None, ca=None)


def node(registry: CollectorRegistry) -> None:
    NodeMetrics(registry)
    Certificates(registry, ttl=CLIENT_TTL, now=lambda: datetime.now(UTC))


def process(registry: CollectorRegistry) -> None:
    for collector in health.process_registry()._collector_to_names:
        registry.register(collector)


COMPONENTS: dict[str, tuple[Callable[[CollectorRegistry], object], ...]] = {
    "API server": (api_server,),
    "Scheduler": (SchedulerMetrics, leading),
    "Controllers": (ControllersMetrics, leading),
    "Node": (node,),
}


def told_by(*parts: Callable[[CollectorRegistry], object]) -> list[Told]:
    registry = CollectorRegistry()
    for part in parts:
        part(registry)
    return sorted(set(_of(registry)))


def _of(registry: CollectorRegistry) -> Iterator[Told]:
    for collector in list(registry._collector_to_names):
        for family in collector.collect():
            labels: Iterable[str]
            if isinstance(collector, MetricWrapperBase):
                labels = collector._labelnames
            else:
                labels = getattr(family, "_labelnames", ())
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield Told(name, family.type, tuple(labels), family.documentation)


def documents() -> dict[str, list[Told]]:
    """By component; what all have is told once."""
    common = told_by(process)
    found = {"Every component": common}
    for component, parts in COMPONENTS.items():
        found[component] = [told for told in told_by(*parts) if told not in common]
    return found


def names() -> set[str]:
    return {told.name for tolds in documents().values() for told in tolds}


def render() -> str:
    lines = [ABOUT]
    for component, tolds in documents().items():
        lines += [f"## {component}", "", "| metric | type | labels | what |", "|---|---|---|---|"]
        for told in tolds:
            labels = ", ".join(f"`{label}`" for label in told.labels)
            lines.append(f"| `{told.name}` | {told.kind} | {labels} | {told.text} |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        if DOCUMENT.read_text() != render():
            print("docs/metrics.md is not what the registries tell: run hack/metrics.py", file=sys.stderr)
            return 1
        return 0
    DOCUMENT.write_text(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
