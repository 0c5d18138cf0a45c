"""The nodes and what is on them, as columns: row i of every array is node i.

Changed in place as the informers tell and as the scheduler assumes; read by filters and scores, which never
change it. A removed node's row is free (`alive` is False) until another node takes it.

Two clocks tell a reader what it has missed. `version` rises when a node changes in a way that matters. `changes`
lists the rows on which pods came or went; a reader that remembers how far it has read repairs just those.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.columns import Amounts, LabelColumn, Mask
from controlplane.scheduler.requests import Port, Request, request_of, units
from controlplane.scheduler.surroundings import Surroundings
from controlplane.scheduler.tallies import Holders, Tallies
from controlplane.scheduler.terms import PodKind, Term, affinity_term, kind_of
from kubeapi.types.core_v1 import Node, Pod, Taint

__all__ = ["Amounts", "LabelColumn", "Mask", "Placed", "Snapshot"]

LOG = 8192
"""Changes remembered; a reader further behind starts afresh."""
HARD_AFFINITY = 1
"""What an existing pod's required affinity for the newcomer counts in the score, as if preferred with this weight."""


@dataclass(slots=True)
class Placed:
    """A pod that counts, bound or assumed."""

    pod: Pod
    row: int
    request: Request
    kind: PodKind
    forbids: tuple[tuple[Term, str, int], ...]
    """Its required anti-affinity."""
    draws: tuple[tuple[Term, str, int], ...]
    """Its preferences about others, with signed weights."""
    told: bool = False
    """Its coming has been told to the pods that wait."""


class Snapshot:
    rows: dict[str, int]
    """Node name to row; the rows of existing nodes and no others."""
    used: dict[str, Amounts]
    """Resource to units taken by the pods of `pods`."""
    pods: dict[str, Placed]
    """By uid, every pod that counts."""
    by_row: dict[int, dict[str, Placed]]
    """The same, by row; rows without pods are absent."""
    rank: Amounts
    """Random, per row, below 2**20: among equal scores the highest wins, so that a decision can be repeated."""

    def __init__(self, rng: Random | None = None) -> None:
        self._rng = rng or Random(0)
        self._size = 64
        self.rows = {}
        self.names: list[str] = [""] * self._size
        self.nodes: list[Node | None] = [None] * self._size
        self.alive: Mask = np.zeros(self._size, dtype=bool)
        self.unschedulable: Mask = np.zeros(self._size, dtype=bool)
        self.rank = np.zeros(self._size, dtype=np.int64)
        self.allocatable: dict[str, Amounts] = {}
        self.used = {}
        self.by_priority: dict[int, dict[str, Amounts]] = {}
        """`used`, by the priority of the pods: what preemption could win."""
        self.guessed_cpu: Amounts = np.zeros(self._size, dtype=np.int64)
        self.guessed_memory: Amounts = np.zeros(self._size, dtype=np.int64)
        self.labels: dict[str, LabelColumn] = {}
        self.taints: dict[tuple[str, str, str], Mask] = {}
        self.ports: dict[Port, dict[int, int]] = {}
        """Host port to rows, and how many pods there hold it."""
        self.images: dict[str, dict[int, int]] = {}
        """Image name to rows, and its size there."""
        self.pods = {}
        self.by_row = {}
        self.around = Surroundings()
        self.tallies = Tallies(self._size, self.around.namespaces)
        self.forbidding = Holders(self._size)
        self.drawing = Holders(self._size)
        self.version = 0
        self.changes: list[int] = []
        self.changes_before = 0
        """How many changes were dropped from the head of `changes`."""
        self._waiting: dict[str, dict[str, Pod]] = {}
        """Pods of nodes that are not known (yet), by node name and uid."""
        self._free: list[int] = list(range(self._size - 1, -1, -1))

    # -------------------------------------------------------------- nodes

    def put_node(self, node: Node) -> None:
        name = node.metadata.name
        row = self.rows.get(name)
        fresh = row is None
        if row is None:
            row = self.rows[name] = self._take_row()
            self.names[row] = name
            self.alive[row] = True
            self.rank[row] = self._rng.getrandbits(20)
        before = self.nodes[row]
        self.nodes[row] = node
        changed = before is None
        if before is None or before.spec != node.spec:
            self.unschedulable[row] = node.spec.unschedulable
            self._set_taints(row, node.spec.taints)
            changed = True
        amounts = node.status.allocatable or node.status.capacity
        if before is None or amounts != (before.status.allocatable or before.status.capacity):
            for resource in self.allocatable.keys() | amounts.keys():
                self._column(self.allocatable, resource)[row] = units(resource, amounts.get(resource, 0))
            changed = True
        if before is None or before.metadata.labels != node.metadata.labels:
            for key in self.labels.keys() | node.metadata.labels.keys():
                self.label(key).set(row, node.metadata.labels.get(key))
            changed = True
        if before is None or before.status.images != node.status.images:
            self._set_images(row, node)
            changed = True
        if changed:
            self.version += 1
        if fresh:
            for pod in self._waiting.pop(name, {}).values():
                self.put_pod(pod, name)

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is None:
            return
        for placed in list(self.by_row.get(row, {}).values()):
            self.remove_pod(placed.pod.metadata.uid)
            self._waiting.setdefault(name, {})[placed.pod.metadata.uid] = placed.pod
        self.alive[row] = False
        self.unschedulable[row] = False
        self.nodes[row] = None
        self.names[row] = ""
        for column in self.labels.values():
            column.set(row, None)
        self._set_taints(row, [])
        self._set_images(row, None)
        for amounts in self.allocatable.values():
            amounts[row] = 0
        self._free.append(row)
        self.version += 1

    def label(self, key: str) -> LabelColumn:
        column = self.labels.get(key)
        if column is None:
            column = self.labels[key] = LabelColumn(self._size, self.rows.__len__)
        return column

    def _set_taints(self, row: int, taints: list[Taint]) -> None:
        for mask in self.taints.values():
            mask[row] = False
        for taint in taints:
            key = (taint.key, taint.value, taint.effect)
            if key not in self.taints:
                self.taints[key] = np.zeros(self._size, dtype=bool)
            self.taints[key][row] = True
        for key in [k for k, mask in self.taints.items() if not mask.any()]:
            del self.taints[key]

    def _set_images(self, row: int, node: Node | None) -> None:
        for name in [n for n, rows in self.images.items() if row in rows]:
            del self.images[name][row]
            if not self.images[name]:
                del self.images[name]
        for image in node.status.images if node is not None else []:
            for name in image.names:
                self.images.setdefault(name, {})[row] = image.size_bytes

    # -------------------------------------------------------------- pods

    def put_pod(self, pod: Pod, node_name: str = "", request: Request | None = None) -> None:
        """On its node, or on the one named (an assumption). A pod that is there already is moved."""
        uid = pod.metadata.uid
        name = node_name or pod.spec.node_name
        row = self.rows.get(name)
        old = self.pods.get(uid)
        if old is not None and old.row == row and _same(old.pod, pod):
            old.pod = pod
            return
        if old is not None or self._waiting:
            self.remove_pod(uid)
        if row is None:
            self._waiting.setdefault(name, {})[uid] = pod
            return
        forbids, draws = _rules(pod)
        placed = Placed(pod, row, request or request_of(pod), kind_of(pod), forbids, draws)
        self.pods[uid] = placed
        self.by_row.setdefault(row, {})[uid] = placed
        self._count(placed, 1)

    def remove_pod(self, uid: str) -> bool:
        """Whether it was there."""
        found = self.pods.pop(uid, None)
        if found is not None:
            here = self.by_row[found.row]
            del here[uid]
            if not here:
                del self.by_row[found.row]
            self._count(found, -1)
            return True
        for name, waiting in list(self._waiting.items()):
            if waiting.pop(uid, None) is not None:
                if not waiting:
                    del self._waiting[name]
                return True
        return False

    def _count(self, placed: Placed, sign: int) -> None:
        row, request = placed.row, placed.request
        shares = self.by_priority.setdefault(placed.pod.spec.priority or 0, {})
        for resource, amount in request.amounts.items():
            self._column(self.used, resource)[row] += sign * amount
            self._column(shares, resource)[row] += sign * amount
        self.guessed_cpu[row] += sign * request.cpu_guess
        self.guessed_memory[row] += sign * request.memory_guess
        for port in request.ports:
            _tally(self.ports, port, row, sign)
        self.tallies.add(placed.kind, row, sign)
        for rule in placed.forbids:
            self.forbidding.add(rule, row, sign)
        for rule in placed.draws:
            self.drawing.add(rule, row, sign)
        self.changes.append(row)
        if len(self.changes) > LOG:
            self.changes_before += LOG // 2
            del self.changes[: LOG // 2]

    # -------------------------------------------------------------- what surrounds

    def set_namespace(self, name: str, labels: dict[str, str] | None) -> None:
        if self.around.set_namespace(name, labels):
            self.tallies.forget()

    # -------------------------------------------------------------- columns

    @property
    def now(self) -> int:
        """How many changes of pods there have been."""
        return self.changes_before + len(self.changes)

    def free(self, resource: str) -> Amounts:
        return self._column(self.allocatable, resource) - self._column(self.used, resource)

    def amounts(self, resource: str) -> Amounts:
        return self._column(self.allocatable, resource)

    def taken(self, resource: str) -> Amounts:
        return self._column(self.used, resource)

    def nothing(self) -> Mask:
        return np.zeros(self._size, dtype=bool)

    @property
    def size(self) -> int:
        return self._size

    def _column(self, columns: dict[str, Amounts], resource: str) -> Amounts:
        column = columns.get(resource)
        if column is None:
            column = columns[resource] = np.zeros(self._size, dtype=np.int64)
        return column

    def _take_row(self) -> int:
        if not self._free:
            self._grow()
        return self._free.pop()

    def _grow(self) -> None:
        old, self._size = self._size, self._size * 2

        def longer(column: NDArray[Any]) -> NDArray[Any]:
            return np.concatenate([column, np.zeros(old, dtype=column.dtype)])

        self.names += [""] * old
        self.nodes += [None] * old
        self.alive, self.unschedulable, self.rank = longer(self.alive), longer(self.unschedulable), longer(self.rank)
        self.guessed_cpu, self.guessed_memory = longer(self.guessed_cpu), longer(self.guessed_memory)
        self.allocatable = {k: longer(v) for k, v in self.allocatable.items()}
        self.used = {k: longer(v) for k, v in self.used.items()}
        self.by_priority = {p: {k: longer(v) for k, v in shares.items()} for p, shares in self.by_priority.items()}
        self.taints = {k: longer(v) for k, v in self.taints.items()}
        for column in self.labels.values():
            column.longer(old)
        self.tallies.grow(self._size)
        self.forbidding.grow(self._size)
        self.drawing.grow(self._size)
        self._free = list(range(self._size - 1, old - 1, -1))


def _same(old: Pod, new: Pod) -> bool:
    """Whether the new state counts exactly as the old one did; most events only tell of a status."""
    a, b = old.metadata, new.metadata
    return (
        a.labels == b.labels
        and (a.deletion_timestamp is None) == (b.deletion_timestamp is None)
        and old.spec.containers == new.spec.containers
        and old.spec.init_containers == new.spec.init_containers
    )


def _rules(pod: Pod) -> tuple[tuple[tuple[Term, str, int], ...], tuple[tuple[Term, str, int], ...]]:
    affinity = pod.spec.affinity
    if affinity is None:
        return (), ()
    forbids: list[tuple[Term, str, int]] = []
    draws: list[tuple[Term, str, int]] = []
    if affinity.pod_anti_affinity is not None:
        anti = affinity.pod_anti_affinity
        for term in anti.required_during_scheduling_ignored_during_execution:
            forbids.append((affinity_term(term, pod), term.topology_key, 1))  # noqa: PERF401
        for weighted in anti.preferred_during_scheduling_ignored_during_execution:
            term = weighted.pod_affinity_term
            draws.append((affinity_term(term, pod), term.topology_key, -weighted.weight))
    if affinity.pod_affinity is not None:
        for term in affinity.pod_affinity.required_during_scheduling_ignored_during_execution:
            draws.append((affinity_term(term, pod), term.topology_key, HARD_AFFINITY))  # noqa: PERF401
        for weighted in affinity.pod_affinity.preferred_during_scheduling_ignored_during_execution:
            term = weighted.pod_affinity_term
            draws.append((affinity_term(term, pod), term.topology_key, weighted.weight))
    return tuple(forbids), tuple(draws)


def _tally(counts: dict[Any, dict[int, int]], key: Any, row: int, sign: int) -> None:
    rows = counts.setdefault(key, {})
    rows[row] = rows.get(row, 0) + sign
    if not rows[row]:
        del rows[row]
        if not rows:
            del counts[key]
