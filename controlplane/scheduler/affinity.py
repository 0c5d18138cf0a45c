"""Node selectors as masks over the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.snapshot import Mask, Snapshot
from kubeapi.selectors import node_requirement
from kubeapi.types.core_v1 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod


def requirement_mask(snapshot: Snapshot, wanted: NodeSelectorRequirement) -> Mask:
    requirement = node_requirement(wanted.key, wanted.operator, wanted.values)
    column = snapshot.label(wanted.key)
    return column.where(lambda value: requirement.matches({} if value is None else {wanted.key: value}))


def _field_mask(snapshot: Snapshot, wanted: NodeSelectorRequirement) -> Mask:
    requirement = node_requirement(wanted.key, wanted.operator, wanted.values)
    if wanted.key != "metadata.name":
        return snapshot.nothing()
    mask = snapshot.nothing()
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


def required_mask(snapshot: Snapshot, pod: Pod) -> Mask | None:
    """None: the pod does not care."""
    mask: Mask | None = None
    for key, wanted in pod.spec.node_selector.items():
        one = snapshot.label(key).where(lambda value, wanted=wanted: value == wanted)  # type: ignore[misc]
        mask = one if mask is None else mask & one
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    if required is not None:
        one = selector_mask(snapshot, required)
        mask = one if mask is None else mask & one
    return mask


def preferred_weights(snapshot: Snapshot, pod: Pod) -> NDArray[Any] | None:
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    terms = affinity.preferred_during_scheduling_ignored_during_execution if affinity is not None else []
    if not terms:
        return None
    weights = np.zeros(len(snapshot.alive), dtype=np.float64)
    for term in terms:
        weights += term.weight * term_mask(snapshot, term.preference)
    return weights
