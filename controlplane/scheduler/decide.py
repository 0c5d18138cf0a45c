"""The decision about one pod: pure, given a snapshot and what is known of its volumes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

import numpy as np

from controlplane.scheduler.filters import run_filters
from controlplane.scheduler.requests import request_of
from controlplane.scheduler.scores import total
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.volumes import VolumeNeeds
from kubeapi.types.core_v1 import Pod


@dataclass(frozen=True, slots=True)
class Decision:
    node: str = ""
    """Empty: nowhere."""
    message: str = ""
    """Why nowhere."""
    pin: tuple[str, ...] = ()
    """Claims that are to be bound for this node before the pod is."""


def explain(nodes: int, refused: Mapping[str, int]) -> str:
    """In the words of Kubernetes: reasons with their counts, sorted as text."""
    if not nodes:
        return "no nodes available to schedule pods"
    reasons = sorted(f"{count} {reason}" for reason, count in refused.items())
    return f"0/{nodes} nodes are available: {', '.join(reasons)}."


def decide(pod: Pod, snapshot: Snapshot, rng: Random, volumes: VolumeNeeds | None = None) -> Decision:
    nodes = len(snapshot.rows)
    if volumes is not None and volumes.blocked:
        return Decision(message=f"0/{nodes} nodes are available: {volumes.blocked}.")
    request = request_of(pod)
    refused: dict[str, int] = {}
    left = run_filters(pod, request, snapshot, refused)
    if volumes is not None:
        for row in np.flatnonzero(left):
            node = snapshot.nodes[row]
            reason = volumes.refuse(node) if node is not None else "node(s) unavailable"
            if reason:
                refused[reason] = refused.get(reason, 0) + 1
                left[row] = False
    rows = np.flatnonzero(left)
    if not len(rows):
        return Decision(message=explain(nodes, refused))
    pin = volumes.to_pin if volumes is not None else ()
    if volumes is not None and volumes.chosen in snapshot.rows and left[snapshot.rows[volumes.chosen]]:
        return Decision(node=volumes.chosen, pin=pin)
    scores = total(pod, request, snapshot, left)[rows]
    best = rows[scores >= scores.max() - 1e-9]
    return Decision(node=snapshot.names[int(best[rng.randrange(len(best))])], pin=pin)
