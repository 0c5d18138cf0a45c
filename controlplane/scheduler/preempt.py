"""Whom to send away so that a more important pod fits: pure, and as little as possible.

On each node that could help: without all less important pods, does it fit? Then take back one by one, the most
important first and those under a disruption budget before others, whoever may stay. Of the nodes found the one is
taken with fewest broken budgets, then least important victims, then fewest, then the youngest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import numpy as np

from controlplane.scheduler.decide import Decision, Nomination, summary
from controlplane.scheduler.filters import ports_taken
from controlplane.scheduler.ranking import Ranking
from controlplane.scheduler.requests import PODS
from controlplane.scheduler.snapshot import Placed, Snapshot
from kubeapi.selectors import LabelQuery
from kubeapi.types.core_v1 import Pod

NEVER = "not eligible due to preemptionPolicy=Never."
WAITING = "not eligible due to a terminating pod on the nominated node."
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_HELP = "Preemption is not helpful for scheduling"
LATE = datetime.max.replace(tzinfo=UTC)
CANDIDATES, SHARE = 100, 10
"""Nodes found are enough when they are this many, or one in SHARE of all."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget: how many more of its pods may be disturbed now."""

    namespace: str
    query: LabelQuery
    allowed: int
    disturbed: frozenset[str] = frozenset()
    """Names of pods already accounted for."""


@dataclass(frozen=True, slots=True)
class Preemption:
    node: str = ""
    """Empty: it would not help."""
    victims: tuple[Pod, ...] = ()
    broken: int = 0
    """Budgets that the victims' going overdraws, one for each victim."""
    message: str = ""


def priority_of(pod: Pod) -> int:
    return pod.spec.priority or 0


def importance(placed: Placed) -> tuple[int, datetime]:
    """Sorts the most important first: by priority, then by age."""
    return (-priority_of(placed.pod), placed.pod.status.start_time or LATE)


def preempt(
    pod: Pod,
    decision: Decision,
    ranking: Ranking,
    snapshot: Snapshot,
    *,
    budgets: Sequence[Budget] = (),
    nominated: Sequence[Nomination] = (),
    rng: Random,
) -> Preemption:
    nodes, priority = len(snapshot.rows), priority_of(pod)
    if pod.spec.preemption_policy == "Never":
        return Preemption(message=NEVER)
    promised = snapshot.rows.get(pod.status.nominated_node_name)
    if promised is not None and any(
        p.kind.leaving and priority_of(p.pod) < priority for p in snapshot.by_row.get(promised, {}).values()
    ):
        return Preemption(message=WAITING)
    found = decision.examination
    if found is None or not nodes:
        return Preemption(message=summary(nodes, {NO_HELP: nodes}) if nodes else "")
    candidates: list[tuple[int, list[Placed], int]] = []
    refused: dict[str, int] = {}
    hopeless = int(np.count_nonzero(snapshot.alive & found.final))
    if hopeless:
        refused[NO_HELP] = hopeless
    possible = snapshot.alive & ~found.final
    lower = {resource: _lower(snapshot, resource, priority) for resource in (PODS, *ranking.shape.request.amounts)}
    none = possible & (lower[PODS] == 0)
    if none.any():
        refused[NO_VICTIMS] = int(np.count_nonzero(none))
    possible &= ~none
    for resource, amount in sorted(ranking.shape.request.amounts.items()):
        short = possible & (snapshot.free(resource) + lower[resource] < amount)
        if short.any() and amount:
            reason = "Too many pods" if resource == PODS else f"Insufficient {resource}"
            refused[reason] = refused.get(reason, 0) + int(np.count_nonzero(short))
            possible &= ~short
    rows = np.flatnonzero(possible)
    enough = max(CANDIDATES, nodes // SHARE)
    for row in np.roll(rows, -rng.randrange(len(rows)) if len(rows) > 1 else 0):
        chosen = _victims(int(row), priority, pod, ranking, snapshot, budgets, nominated)
        if chosen is not None:
            candidates.append((int(row), *chosen))
            if len(candidates) >= enough:
                break
        else:
            refused[NO_VICTIMS] = refused.get(NO_VICTIMS, 0) + 1
    if not candidates:
        return Preemption(message=summary(nodes, refused))
    chosen_row, victims, broken = min(candidates, key=_cost)
    return Preemption(snapshot.names[chosen_row], tuple(v.pod for v in victims), broken)


def _lower(snapshot: Snapshot, resource: str, priority: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """What less important pods hold."""
    total = np.zeros(snapshot.size, dtype=np.int64)
    for level, shares in snapshot.by_priority.items():
        if level < priority and resource in shares:
            total += shares[resource]
    return total


def _cost(candidate: tuple[int, list[Placed], int]) -> tuple[int, int, int, int, float]:
    _, victims, broken = candidate
    priorities = [priority_of(v.pod) for v in victims]
    highest = max(priorities)
    oldest = min(v.pod.status.start_time or LATE for v in victims if priority_of(v.pod) == highest)
    return (broken, highest, sum(p + 2**31 for p in priorities), len(victims), -oldest.timestamp())


def _victims(
    row: int,
    priority: int,
    pod: Pod,
    ranking: Ranking,
    snapshot: Snapshot,
    budgets: Sequence[Budget],
    nominated: Sequence[Nomination],
) -> tuple[list[Placed], int] | None:
    """(who must go, broken budgets) on this node. None: it would not help."""
    lower = sorted((p for p in snapshot.by_row.get(row, {}).values() if priority_of(p.pod) < priority), key=importance)
    trial = _Trial(row, ranking, snapshot)
    ahead = [
        n.pod
        for n in nominated
        if n.node == snapshot.names[row]
        and priority_of(n.pod) >= priority
        and n.pod.metadata.uid != pod.metadata.uid
        and n.pod.metadata.uid not in snapshot.pods
    ]
    try:
        for other in ahead:
            trial.admit(other)
        for placed in lower:
            trial.take(placed)
        if not trial.fits():
            return None
        violating, others = _by_budget(lower, budgets)
        victims: list[Placed] = []
        broken = 0
        for group in (violating, others):
            for placed in group:
                trial.give_back(placed)
                if not trial.fits():
                    trial.take(placed)
                    victims.append(placed)
                    broken += group is violating
        return (sorted(victims, key=importance), broken) if victims else None
    finally:
        trial.restore()


def _by_budget(pods: Sequence[Placed], budgets: Sequence[Budget]) -> tuple[list[Placed], list[Placed]]:
    """(those whose going would overdraw a budget, the others)."""
    left = [b.allowed for b in budgets]
    violating: list[Placed] = []
    others: list[Placed] = []
    for placed in pods:
        meta, over = placed.pod.metadata, False
        for i, budget in enumerate(budgets):
            mine = budget.namespace == meta.namespace and meta.name not in budget.disturbed
            if mine and budget.query.requirements and budget.query.matches(meta.labels):
                left[i] -= 1
                over |= left[i] < 0
        (violating if over else others).append(placed)
    return violating, others


class _Trial:
    """One node, with pods taken away and given back. Only where other pods matter is the snapshot itself changed."""

    def __init__(self, row: int, ranking: Ranking, snapshot: Snapshot) -> None:
        self._row, self._ranking, self._snapshot = row, ranking, snapshot
        ranking.refresh()
        request = ranking.shape.request
        self._free = {n: int(snapshot.free(n)[row]) for n, amount in request.amounts.items() if amount}
        self._real = bool(request.ports) or ranking.sociable
        self._gone: dict[str, Placed] = {}
        self._guests: list[Pod] = []

    def admit(self, pod: Pod) -> None:
        self._snapshot.put_pod(pod, self._snapshot.names[self._row])
        self._guests.append(pod)
        for name in self._free:
            self._free[name] = int(self._snapshot.free(name)[self._row])

    def take(self, placed: Placed) -> None:
        for name in self._free:
            self._free[name] += placed.request.amounts.get(name, 0)
        if self._real:
            self._gone[placed.pod.metadata.uid] = placed
            self._snapshot.remove_pod(placed.pod.metadata.uid)

    def give_back(self, placed: Placed) -> None:
        for name in self._free:
            self._free[name] -= placed.request.amounts.get(name, 0)
        if self._real:
            del self._gone[placed.pod.metadata.uid]
            self._put(placed)

    def fits(self) -> bool:
        request = self._ranking.shape.request
        if any(free < request.amounts[name] for name, free in self._free.items()):
            return False
        if not self._real:
            return True
        if ports_taken(request, self._snapshot)[self._row]:
            return False
        self._ranking.refresh()
        return not self._ranking.refused_by_pods()[self._row]

    def restore(self) -> None:
        for placed in self._gone.values():
            self._put(placed)
        for pod in self._guests:
            self._snapshot.remove_pod(pod.metadata.uid)

    def _put(self, placed: Placed) -> None:
        self._snapshot.put_pod(placed.pod, self._snapshot.names[self._row], placed.request)
