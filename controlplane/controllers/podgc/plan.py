"""Which pods are to be removed at once: those of nodes that are gone, the oldest of too many finished ones, and those
deleted before they had a node."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from controlplane.controllers.pods import EPOCH, is_terminal
from kubeapi.types.core_v1 import Pod


@dataclass(frozen=True, slots=True)
class PodGarbage:
    orphaned: list[Pod]
    """Their node may be gone; the shell asks the server before it believes the cache."""
    finished: list[Pod]
    unscheduled: list[Pod]


def plan(pods: Sequence[Pod], nodes: Collection[str], most_finished: int) -> PodGarbage:
    finished = sorted(
        (p for p in pods if is_terminal(p) and p.metadata.deletion_timestamp is None),
        key=lambda p: (p.metadata.creation_timestamp or EPOCH, p.metadata.name),
    )
    return PodGarbage(
        orphaned=[p for p in pods if p.spec.node_name and p.spec.node_name not in nodes],
        finished=finished[: max(0, len(finished) - most_finished)],
        unscheduled=[p for p in pods if not p.spec.node_name and p.metadata.deletion_timestamp is not None],
    )
