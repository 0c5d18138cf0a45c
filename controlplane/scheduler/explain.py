"""Why a pod is pending, node by node and with quantities: pure, for people to read.

The event counts each node once, by the first filter that objects. Here every filter is heard about every node, so
that one sees at once whether to remove a taint, to free 200m of cpu, or both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from controlplane.scheduler.affinity import requirement_mask
from controlplane.scheduler.filters import FILTERS, ports_taken
from controlplane.scheduler.requests import CPU, PODS
from controlplane.scheduler.shape import Shape, pinned, shape_of
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.static import HARD, static_of
from controlplane.scheduler.volumes import VolumeNeeds
from kubeapi.quantity import format_binary
from kubeapi.types.core_v1 import Pod


@dataclass(frozen=True, slots=True)
class Reason:
    plugin: str
    """Whose objection it is: NodeResourcesFit, TaintToleration, ..."""
    text: str
    """As the event has it."""
    detail: str = ""
    """With the quantities, names and values of this node."""
    by_preemption: bool = False
    """Whether the going of less important pods could help."""


@dataclass(frozen=True, slots=True)
class NodeReasons:
    node: str
    reasons: tuple[Reason, ...]
    """None: the pod could go there."""


def explain(snapshot: Snapshot, pod: Pod, volumes: VolumeNeeds | None = None) -> list[NodeReasons]:
    """Every node, by name. Raises BadRequest for a selector that cannot be read."""
    shape = shape_of(pod, snapshot)
    static = static_of(shape, snapshot)
    found: dict[int, list[Reason]] = {row: [] for row in snapshot.rows.values()}
    only = pinned(pod)
    if only:
        text = "node(s) didn't match Pod's node affinity/selector"
        for name, row in snapshot.rows.items():
            if name != only:
                found[row].append(Reason("NodeAffinity", text, f"the pod is for node {only}"))
    if volumes is not None and volumes.blocked:
        for reasons in found.values():
            reasons.append(Reason("VolumeBinding", volumes.blocked))
    refusals = [r for f in FILTERS for r in f(shape, static, snapshot)]
    if volumes is not None and not volumes.blocked:
        refusals += volumes.refusals(snapshot)
    for refusal in refusals:
        for row, reasons in found.items():
            if refusal.rows[row]:
                final = refusal.final if isinstance(refusal.final, bool) else bool(refusal.final[row])
                detail = detail_of(refusal.plugin, refusal.reason, shape, snapshot, row)
                reasons.append(Reason(refusal.plugin, refusal.reason, detail, by_preemption=not final))
    return [NodeReasons(name, tuple(found[row])) for name, row in sorted(snapshot.rows.items())]


def amount(resource: str, units: int) -> str:
    """In the way that people write it: 1500m, 3, 512Mi."""
    if resource == CPU:
        return str(units // 1000) if units % 1000 == 0 else f"{units}m"
    return format_binary(units) if units else "0"


def detail_of(plugin: str, reason: str, shape: Shape, snapshot: Snapshot, row: int) -> str:
    node = snapshot.nodes[row]
    if node is None:
        return ""
    match plugin:
        case "NodeResourcesFit":
            name = PODS if reason == "Too many pods" else reason.removeprefix("Insufficient ")
            asked, total = shape.request.amounts[name], int(snapshot.amounts(name)[row])
            taken = int(snapshot.taken(name)[row])
            free = amount(name, max(0, total - taken))
            return f"requested {amount(name, asked)}, free {free} ({amount(name, taken)} of {amount(name, total)} used)"
        case "TaintToleration":
            marks = [t for t in node.spec.taints if t.effect in HARD and not shape.tolerates(t)]
            return ", ".join(f"{t.key}{'=' if t.value else ''}{t.value}:{t.effect}" for t in marks)
        case "NodeAffinity":
            return ", ".join(_unmet(shape, snapshot, row))
        case "NodePorts":
            taken_here = (p for p in sorted(shape.request.ports) if _taken(p, shape, snapshot, row))
            return ", ".join(f"{protocol} {port}" for _, protocol, port in taken_here)
        case "PodTopologySpread":
            return ", ".join(
                f"{s.key}={snapshot.label(s.key).value(row) or '(absent)'}, maxSkew {s.max_skew}" for s in shape.hard
            )
        case "InterPodAffinity":
            keys = {key for _, key in (*shape.near, *shape.apart)}
            return ", ".join(f"{key}={snapshot.label(key).value(row) or '(absent)'}" for key in sorted(keys))
    return ""


def _taken(port: tuple[str, str, int], shape: Shape, snapshot: Snapshot, row: int) -> bool:
    return bool(ports_taken(replace(shape.request, ports=frozenset([port])), snapshot)[row])


def _unmet(shape: Shape, snapshot: Snapshot, row: int) -> list[str]:
    """What of the selector and of each alternative of the affinity the node's labels lack."""
    found = [
        f"wants {key}={value}, has {snapshot.label(key).value(row) or 'none'}"
        for key, value in sorted(shape.node_selector.items())
        if snapshot.label(key).value(row) != value
    ]
    for term in shape.required.node_selector_terms if shape.required is not None else ():
        for wanted in term.match_expressions:
            if not requirement_mask(snapshot, wanted)[row]:
                values = f" ({', '.join(wanted.values)})" if wanted.values else ""
                has = snapshot.label(wanted.key).value(row) or "none"
                found.append(f"wants {wanted.key} {wanted.operator}{values}, has {has}")
    return found
