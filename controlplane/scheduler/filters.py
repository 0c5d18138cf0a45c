"""Which nodes a pod may go to: functions of (shape, columns) that say, per refused node, why.

They run in the order of FILTERS; a node is refused by the first that objects, and only that one's reasons count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from controlplane.scheduler.columns import Amounts, LabelColumn, Mask
from controlplane.scheduler.requests import PODS, Request
from controlplane.scheduler.shape import Shape, Spread
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.static import HARD, UNSCHEDULABLE, Static
from controlplane.scheduler.terms import Term


@dataclass(frozen=True, slots=True, eq=False)
class Refusal:
    plugin: str
    """Whose objection it is, by Kubernetes' name: what may help is looked up by it."""
    reason: str
    rows: Mask
    """The rows that it refuses (of those asked about, and perhaps others)."""
    final: Mask | bool = False
    """Where the going of other pods would not help."""


Filter = Callable[[Shape, Static, Snapshot], Iterator[Refusal]]


def unschedulable(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    if not shape.tolerates(UNSCHEDULABLE):
        yield Refusal("NodeUnschedulable", "node(s) were unschedulable", snapshot.unschedulable, True)


def taints(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    """Of a node with several, the first in its own order is named."""
    if not static.tainted.any():
        return
    named: dict[tuple[str, str], Mask] = {}
    for row in np.flatnonzero(static.tainted):
        node = snapshot.nodes[row]
        for taint in node.spec.taints if node is not None else ():
            if taint.effect in HARD and not shape.tolerates(taint):
                named.setdefault((taint.key, taint.value), snapshot.nothing())[row] = True
                break
    for (key, value), rows in named.items():
        yield Refusal("TaintToleration", f"node(s) had untolerated taint {{{key}: {value}}}", rows, True)


def node_affinity(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    if static.suits is not None:
        yield Refusal("NodeAffinity", "node(s) didn't match Pod's node affinity/selector", ~static.suits, True)


def ports_taken(request: Request, snapshot: Snapshot) -> Mask:
    taken = snapshot.nothing()
    for address, protocol, port in request.ports:
        for (other, other_protocol, other_port), rows in snapshot.ports.items():
            same = (protocol, port) == (other_protocol, other_port)
            if same and (address == other or "0.0.0.0" in (address, other)):
                taken[list(rows)] = True
    return taken


def ports(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    if shape.request.ports:
        reason = "node(s) didn't have free ports for the requested pod ports"
        yield Refusal("NodePorts", reason, ports_taken(shape.request, snapshot))


def resources(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    """Several may be short at once: all are told. Where even the empty node is too small, preemption is no help."""
    for name, amount in sorted(shape.request.amounts.items()):
        if amount:
            reason = "Too many pods" if name == PODS else f"Insufficient {name}"
            short = snapshot.free(name) < amount
            yield Refusal("NodeResourcesFit", reason, short, snapshot.amounts(name) < amount)


# ------------------------------------------------------------------ spreading

MISSING = "node(s) didn't match pod topology spread constraints (missing required label)"
SKEWED = "node(s) didn't match pod topology spread constraints"


def domain_counts(column: LabelColumn, counts: Amounts, eligible: Mask) -> tuple[Amounts, int, int]:
    """Per row the eligible pods of its domain; the least of any domain; how many domains there are."""
    size = len(column.values)
    sums = np.bincount(column.ids, weights=np.where(eligible, counts, 0), minlength=size).astype(np.int64)
    present = np.bincount(column.ids[eligible], minlength=size) > 0
    present[0] = False
    sums[0] = 0
    domains = int(np.count_nonzero(present))
    least = int(sums[present].min()) if domains else 0
    return sums[column.ids], least, domains


def skewed(spread: Spread, eligible: Mask, snapshot: Snapshot) -> Mask:
    """Where one more pod would make the domain exceed the smallest one by more than is allowed."""
    column = snapshot.label(spread.key)
    counts, least, domains = domain_counts(column, snapshot.tallies.counts(spread.term), eligible)
    if not domains:
        return snapshot.nothing()
    if domains < spread.min_domains:
        least = 0
    return counts + spread.self_match - least > spread.max_skew


def spreading(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    left = snapshot.alive.copy()
    for spread, eligible in zip(shape.hard, static.hard, strict=True):
        missing = left & ~snapshot.label(spread.key).has()
        yield Refusal("PodTopologySpread", MISSING, missing, True)
        left &= ~missing
        rows = left & skewed(spread, eligible, snapshot)
        yield Refusal("PodTopologySpread", SKEWED, rows)
        left &= ~rows


# ------------------------------------------------------------------ other pods

NOT_NEAR = "node(s) didn't match pod affinity rules"
NOT_APART = "node(s) didn't match pod anti-affinity rules"
FORBIDDEN = "node(s) didn't satisfy existing pods anti-affinity rules"


def not_near(shape: Shape, snapshot: Snapshot) -> Mask:
    """A pod counts when all terms select it. The first of a group that is drawn to itself may go anywhere."""
    counts = snapshot.tallies.counts(*(term for term, _ in shape.near))
    columns = [snapshot.label(key) for _, key in shape.near]
    labelled = snapshot.alive.copy()
    met = snapshot.alive.copy()
    anywhere = False
    for column in columns:
        labelled &= column.has()
        anywhere = anywhere or bool(counts[column.has()].any())
        met &= column.sums(counts) > 0
    if not anywhere and shape.attracts_itself:
        return ~labelled
    return ~met


def not_apart(shape: Shape, snapshot: Snapshot) -> Mask:
    mask = snapshot.nothing()
    for term, key in shape.apart:
        mask |= snapshot.label(key).sums(snapshot.tallies.counts(term)) > 0
    return mask


def forbidders(shape: Shape, snapshot: Snapshot) -> list[tuple[Term, str, int]]:
    """The anti-affinities of existing pods that mean this one."""
    namespaces = snapshot.around.namespaces
    return [r for r in snapshot.forbidding.rules() if r[0].selects(shape.kind, shape.labels, namespaces)]


def forbidden(rules: list[tuple[Term, str, int]], snapshot: Snapshot) -> Mask:
    mask = snapshot.nothing()
    for rule in rules:
        mask |= snapshot.label(rule[1]).sums(snapshot.forbidding.counts(rule)) > 0
    return mask


def inter_pod(shape: Shape, static: Static, snapshot: Snapshot) -> Iterator[Refusal]:
    left = snapshot.alive.copy()
    if shape.near:
        rows = not_near(shape, snapshot)
        yield Refusal("InterPodAffinity", NOT_NEAR, rows, True)
        left &= ~rows
    if shape.apart:
        rows = not_apart(shape, snapshot)
        yield Refusal("InterPodAffinity", NOT_APART, rows & left)
        left &= ~rows
    rules = forbidders(shape, snapshot)
    if rules:
        yield Refusal("InterPodAffinity", FORBIDDEN, forbidden(rules, snapshot) & left)


NODE_FILTERS: tuple[Filter, ...] = (unschedulable, taints, node_affinity, ports, resources)
POD_FILTERS: tuple[Filter, ...] = (spreading, inter_pod)
FILTERS = NODE_FILTERS + POD_FILTERS


@dataclass(slots=True)
class Examination:
    """Every node, and for each that was refused by whom and whether for good."""

    left: Mask
    refused: dict[str, int]
    """Reason to nodes."""
    plugins: set[str]
    final: Mask
    """Preemption would not help there."""

    def apply(self, refusals: Iterator[Refusal]) -> None:
        objects = np.zeros_like(self.left)
        for refusal in refusals:
            hit = refusal.rows & self.left
            count = int(np.count_nonzero(hit))
            if count:
                self.refused[refusal.reason] = self.refused.get(refusal.reason, 0) + count
                self.plugins.add(refusal.plugin)
                self.final |= hit & refusal.final
                objects |= hit
        self.left = self.left & ~objects

    def merge(self, other: Examination) -> None:
        """What a second look at the rows left has found."""
        for reason, count in other.refused.items():
            self.refused[reason] = self.refused.get(reason, 0) + count
        self.plugins |= other.plugins
        self.final |= other.final
        self.left = other.left


def examine(
    shape: Shape,
    static: Static,
    snapshot: Snapshot,
    *,
    name: str = "",
    among: Mask | None = None,
    volumes: Callable[[Snapshot], Iterator[Refusal]] | None = None,
) -> Examination:
    """All filters, with all their reasons, of all nodes or some. `name` is the node that the pod is pinned to."""
    found = Examination((snapshot.alive if among is None else among).copy(), {}, set(), snapshot.nothing())
    for function in NODE_FILTERS:
        if function is ports and name:
            others = snapshot.alive.copy()
            if name in snapshot.rows:
                others[snapshot.rows[name]] = False
            reason = "node(s) didn't match Pod's node affinity/selector"
            found.apply(iter([Refusal("NodeAffinity", reason, others, True)]))
        found.apply(function(shape, static, snapshot))
    if volumes is not None:
        found.apply(volumes(snapshot))
    for function in POD_FILTERS:
        found.apply(function(shape, static, snapshot))
    return found
