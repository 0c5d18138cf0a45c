"""Node selectors as masks over the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controlplane.scheduler.columns import Amounts, Mask
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.selectors import node_requirement
from kubeapi.types.core_v1 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PreferredSchedulingTerm


def requirement_mask(snapshot: Snapshot, wanted: NodeSelectorRequirement) -> Mask:
    requirement = node_requirement(wanted.key, wanted.operator, wanted.values)
    column = snapshot.label(wanted.key)
    return column.where(lambda value: requirement.matches({} if value is None else {wanted.key: value}))


def _field_mask(snapshot: Snapshot, wanted: NodeSelectorRequirement) -> Mask:
    mask = snapshot.nothing()
    if wanted.key != "metadata.name":
        return mask
    if wanted.operator == "In":
        mask[[snapshot.rows[name] for name in wanted.values if name in snapshot.rows]] = True
        return mask
    requirement = node_requirement(wanted.key, wanted.operator, wanted.values)
    for name, row in snapshot.rows.items():
        mask[row] = requirement.matches({"metadata.name": name})
    return mask


def term_mask(snapshot: Snapshot, term: NodeSelectorTerm) -> Mask:
    """All of it must hold; an empty term matches nothing."""
    if not term.match_expressions and not term.match_fields:
        return snapshot.nothing()
    mask = snapshot.alive.copy()
    for expression in term.match_expressions:
        mask &= requirement_mask(snapshot, expression)
    for expression in term.match_fields:
        mask &= _field_mask(snapshot, expression)
    return mask


def selector_mask(snapshot: Snapshot, selector: NodeSelector) -> Mask:
    """One of the terms must hold."""
    mask = snapshot.nothing()
    for term in selector.node_selector_terms:
        mask |= term_mask(snapshot, term)
    return mask


def required_mask(snapshot: Snapshot, labels: Mapping[str, str], required: NodeSelector | None) -> Mask | None:
    """nodeSelector and required node affinity. None: every node will do."""
    mask: Mask | None = None
    for key, wanted in labels.items():
        one = snapshot.label(key).where(lambda value, wanted=wanted: value == wanted)  # type: ignore[misc]
        mask = one if mask is None else mask & one
    if required is not None:
        one = selector_mask(snapshot, required)
        mask = one if mask is None else mask & one
    return mask


def preferred_weights(snapshot: Snapshot, terms: Sequence[PreferredSchedulingTerm]) -> Amounts:
    """The weights of the preferences that a node meets, added up. An empty preference is met by none."""
    weights = np.zeros(snapshot.size, dtype=np.int64)
    for term in terms:
        weights += term.weight * term_mask(snapshot, term.preference)
    return weights
