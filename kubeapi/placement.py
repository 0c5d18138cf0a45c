"""Which pods may be on which nodes, by taints and by node selectors: what scheduler and controllers both ask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubeapi.selectors import node_requirement
from kubeapi.types.core_v1 import Node, NodeSelector, NodeSelectorTerm, Taint, Toleration


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """An empty effect means all effects; an empty key with Exists, all keys."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return bool(toleration.key) and toleration.operator in ("", "Equal") and toleration.value == taint.value


def untolerated(tolerations: Sequence[Toleration], taints: Iterable[Taint], effects: Sequence[str]) -> Taint | None:
    """The first taint of one of these effects that nothing tolerates."""
    for taint in taints:
        if taint.effect in effects and not any(tolerates(t, taint) for t in tolerations):
            return taint
    return None


def term_matches(term: NodeSelectorTerm, node: Node) -> bool:
    """An empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(
        node_requirement(e.key, e.operator, e.values).matches(node.metadata.labels) for e in term.match_expressions
    ) and all(node_requirement(e.key, e.operator, e.values).matches(fields) for e in term.match_fields)


def selector_matches(selector: NodeSelector | None, node: Node) -> bool:
    """The terms are alternatives. None matches every node."""
    return selector is None or any(term_matches(t, node) for t in selector.node_selector_terms)
