"""The decision about one pod: pure, given a snapshot, what is known of its volumes, and who else was promised room.

    shape ──► ranking ──► best row ──► node
                            └─ none: examine ──► every reason, counted ──► message, and who objected

Pods that were promised room by a preemption (nominated) and are no less important count as if they were there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from controlplane.scheduler.columns import Mask
from controlplane.scheduler.filters import Examination, examine
from controlplane.scheduler.ranking import Ranking, Rankings
from controlplane.scheduler.shape import Shape, Shapes, pinned
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import VolumeNeeds
from kubeapi.types.core_v1 import Pod

REMEMBERED = 256
"""Refusals kept for the next pod of the same shape."""


@dataclass(frozen=True, slots=True)
class Nomination:
    pod: Pod
    node: str


@dataclass(frozen=True, slots=True)
class Decision:
    node: str = ""
    """Empty: nowhere."""
    message: str = ""
    """Why nowhere."""
    pin: tuple[str, ...] = ()
    """Claims that are to be bound for this node before the pod is."""
    plugins: frozenset[str] = frozenset()
    """Who objected."""
    shape: Shape | None = None
    examination: Examination | None = field(default=None, compare=False)
    """Of a refusal, for preemption. None: no node was looked at."""


def summary(nodes: int, refused: Mapping[str, int]) -> str:
    """In the words of Kubernetes: reasons with their counts, sorted as text."""
    if not nodes:
        return "no nodes available to schedule pods"
    reasons = sorted(f"{count} {reason}" for reason, count in refused.items())
    return f"0/{nodes} nodes are available: {', '.join(reasons)}."


class Decider:
    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.shapes = Shapes()
        self.rankings = Rankings(snapshot)
        self._refused: OrderedDict[Shape, tuple[tuple[int, int, int], Decision]] = OrderedDict()

    def decide(self, pod: Pod, volumes: VolumeNeeds | None = None, nominated: Sequence[Nomination] = ()) -> Decision:
        """Raises BadRequest for a selector that cannot be read."""
        snapshot = self.snapshot
        shape = self.shapes.of(pod, snapshot)
        nodes = len(snapshot.rows)
        if volumes is not None and volumes.blocked:
            message = f"0/{nodes} nodes are available: {volumes.blocked}."
            return Decision(message=message, plugins=frozenset(["VolumeBinding"]), shape=shape)
        ranking = self.rankings.of(shape)
        ahead = self._ahead(pod, nominated)
        extra = _both(self._reserved(ahead, ranking), _usable(volumes, snapshot))
        chosen = self._chosen(pod, ranking, extra, volumes)
        if chosen:
            return Decision(chosen, pin=volumes.to_pin if volumes is not None else (), shape=shape)
        return self._refusal(pod, shape, ranking, ahead, volumes)

    def _chosen(self, pod: Pod, ranking: Ranking, extra: Mask | None, volumes: VolumeNeeds | None) -> str:
        """A node that was promised or chosen before is taken if it still will do."""
        snapshot = self.snapshot
        only = pinned(pod)
        before = (pod.status.nominated_node_name, volumes.chosen if volumes is not None else "")
        for name in (only,) if only else before:
            row = snapshot.rows.get(name) if name else None
            if row is not None:
                ranking.refresh()
                if ranking.feasible(extra)[row]:
                    return name
        row = -1 if only else ranking.best(extra)
        return snapshot.names[row] if row >= 0 else ""

    def _ahead(self, pod: Pod, nominated: Sequence[Nomination]) -> list[Nomination]:
        """The promises that bind this pod."""
        snapshot, uid, priority = self.snapshot, pod.metadata.uid, pod.spec.priority or 0
        return [
            n
            for n in nominated
            if n.node in snapshot.rows
            and n.pod.metadata.uid != uid
            and (n.pod.spec.priority or 0) >= priority
            and n.pod.metadata.uid not in snapshot.pods
        ]

    def _reserved(self, ahead: Sequence[Nomination], ranking: Ranking) -> Mask | None:
        """All rows but those where the pod fits only until the promised pods have come."""
        if not ahead:
            return None
        snapshot = self.snapshot
        with _arrived(ahead, snapshot):
            ranking.refresh()
            with_them = ranking.feasible().copy()
        mask = snapshot.alive.copy()
        for n in ahead:
            row = snapshot.rows[n.node]
            mask[row] = with_them[row]
        ranking.refresh()
        return mask

    def _refusal(
        self,
        pod: Pod,
        shape: Shape,
        ranking: Ranking,
        ahead: Sequence[Nomination],
        volumes: VolumeNeeds | None,
    ) -> Decision:
        snapshot = self.snapshot
        plain = volumes is None and not ahead and not pinned(pod)
        state = (snapshot.version, snapshot.now, len(snapshot.rows))
        known = self._refused.get(shape) if plain else None
        if known is not None and known[0] == state:
            return known[1]
        ranking.refresh()  # a pod that may go to one node alone is refused without a look at it, where that one is not there
        found = examine(
            shape, ranking.static, snapshot, name=pinned(pod), volumes=volumes.refusals if volumes is not None else None
        )
        if found.left.any():  # what is left is promised to others
            with _arrived(ahead, snapshot):
                late = examine(shape, ranking.static, snapshot, among=found.left)
            found.merge(late)
        message = summary(len(snapshot.rows), found.refused)
        decision = Decision(message=message, plugins=frozenset(found.plugins), shape=shape, examination=found)
        if plain:
            self._refused[shape] = (state, decision)
            if len(self._refused) > REMEMBERED:
                self._refused.popitem(last=False)
        return decision


@contextmanager
def _arrived(ahead: Sequence[Nomination], snapshot: Snapshot) -> Iterator[None]:
    """As if the promised pods were there already."""
    for n in ahead:
        snapshot.put_pod(n.pod, n.node)
    try:
        yield
    finally:
        for n in ahead:
            snapshot.remove_pod(n.pod.metadata.uid)


def _usable(volumes: VolumeNeeds | None, snapshot: Snapshot) -> Mask | None:
    if volumes is None:
        return None
    mask = snapshot.alive.copy()
    for refusal in volumes.refusals(snapshot):
        mask &= ~refusal.rows
    return mask


def _both(a: Mask | None, b: Mask | None) -> Mask | None:
    if a is None or b is None:
        return a if b is None else b
    return np.logical_and(a, b)


def decide(
    pod: Pod, snapshot: Snapshot, volumes: VolumeNeeds | None = None, nominated: Sequence[Nomination] = ()
) -> Decision:
    """With nothing kept from earlier decisions."""
    return Decider(snapshot).decide(pod, volumes, nominated)


def with_preemption(decision: Decision, text: str) -> Decision:
    return replace(decision, message=f"{decision.message} preemption: {text}") if text else decision
