"""What a shape makes of the nodes as such, without the pods on them: true until a node changes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controlplane.scheduler.affinity import required_mask
from controlplane.scheduler.columns import Amounts, Mask
from controlplane.scheduler.shape import Shape, Spread
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.types.core_v1 import Taint

UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
HARD = ("NoSchedule", "NoExecute")
MIB = 1 << 20
SMALL_IMAGE, LARGE_IMAGES = 23 * MIB, 1000 * MIB
"""Bytes: below the one an image on the spot is worth nothing, above the other (per container) no more."""


@dataclass(frozen=True, slots=True, eq=False)
class Static:
    open: Mask
    """Alive, not cordoned, taints tolerated, node affinity met."""
    suits: Mask | None
    """Node affinity and selector met. None: all do."""
    tainted: Mask
    """Has a NoSchedule or NoExecute taint that is not tolerated."""
    soft_taints: Amounts | None
    """How many PreferNoSchedule taints are not tolerated. None: none anywhere."""
    images: Amounts | None
    """0 to 100. None: no node has any of them."""
    hard: tuple[Mask, ...]
    """Per hard spread constraint, the nodes whose pods and domains count."""
    soft: tuple[Mask, ...]
    soft_heeds: Mask | None
    """The nodes to which the soft constraints speak at all. None: to all."""


def static_of(shape: Shape, snapshot: Snapshot) -> Static:
    suits = required_mask(snapshot, shape.node_selector, shape.required)
    tainted = snapshot.nothing()
    soft = np.zeros(snapshot.size, dtype=np.int64)
    for (key, value, effect), rows in snapshot.taints.items():
        if shape.tolerates(Taint(key=key, value=value, effect=effect)):
            continue
        if effect in HARD:
            tainted |= rows
        elif effect == "PreferNoSchedule":
            soft += rows
    ok = snapshot.alive & ~tainted
    if not shape.tolerates(UNSCHEDULABLE):
        ok &= ~snapshot.unschedulable
    if suits is not None:
        ok &= suits
    heeds = None
    if shape.soft and not shape.soft_by_default:
        heeds = _all_keys(shape.soft, snapshot)
    hard_keys = _all_keys(shape.hard, snapshot) if shape.hard else snapshot.alive
    return Static(
        open=ok,
        suits=suits,
        tainted=tainted,
        soft_taints=soft if soft.any() else None,
        images=_images(shape, snapshot),
        hard=tuple(_eligible(s, snapshot, suits, tainted) & hard_keys for s in shape.hard),
        soft=tuple(
            m if heeds is None else m & heeds for m in (_eligible(s, snapshot, suits, tainted) for s in shape.soft)
        ),
        soft_heeds=heeds,
    )


def _all_keys(spreads: tuple[Spread, ...], snapshot: Snapshot) -> Mask:
    mask = snapshot.alive.copy()
    for spread in spreads:
        mask &= snapshot.label(spread.key).has()
    return mask


def _eligible(spread: Spread, snapshot: Snapshot, suits: Mask | None, tainted: Mask) -> Mask:
    mask = snapshot.alive.copy()
    if spread.honor_affinity and suits is not None:
        mask &= suits
    if spread.honor_taints:
        mask &= ~tainted
    return mask


def _images(shape: Shape, snapshot: Snapshot) -> Amounts | None:
    """An image counts by its size, and less while few nodes have it: else all pods would follow the first."""
    nodes = max(1, len(snapshot.rows))
    sums = np.zeros(snapshot.size, dtype=np.int64)
    for name in shape.images:
        rows = snapshot.images.get(name)
        if rows:
            part = len(rows) / nodes
            for row, size in rows.items():
                sums[row] += int(size * part)
    if not sums.any():
        return None
    most = LARGE_IMAGES * shape.containers
    scores: Amounts = 100 * (np.clip(sums, SMALL_IMAGE, most) - SMALL_IMAGE) // (most - SMALL_IMAGE)
    return scores if scores.any() else None
