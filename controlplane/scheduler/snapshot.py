"""The nodes and what is on them, as columns: row i of every array is node i.

Changed in place as the informers tell and as the scheduler assumes; read by filters and scores, which never
change it. A removed node's row is free (`alive` is False) until another node takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.requests import Port, Request, request_of, units
from kubeapi.client.keys import controller_of
from kubeapi.types.core_v1 import Node, Pod, Taint

Mask = NDArray[np.bool_]
Amounts = NDArray[np.int64]


class LabelColumn:
    """One label key: per row the number of its value; 0 where the label is absent."""

    def __init__(self, size: int) -> None:
        self.ids: NDArray[np.int32] = np.zeros(size, dtype=np.int32)
        self.values: list[str | None] = [None]
        self._numbers: dict[str, int] = {}

    def set(self, row: int, value: str | None) -> None:
        if value is None:
            self.ids[row] = 0
            return
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        self.ids[row] = number

    def where(self, wanted: Callable[[str | None], bool]) -> Mask:
        """Asked once per different value, not once per node."""
        table = np.array([wanted(value) for value in self.values], dtype=bool)
        return table[self.ids]


class Snapshot:
    rows: dict[str, int]
    """Node name to row; the rows of existing nodes and no others."""
    used: dict[str, Amounts]
    """Resource to units taken by the pods of `pods`, bound or assumed."""
    pods: dict[str, tuple[Pod, int, Request]]
    """Uid to pod, row and request, for every pod that counts."""

    def __init__(self) -> None:
        self._size = 64
        self.rows = {}
        self.names: list[str] = [""] * self._size
        self.nodes: list[Node | None] = [None] * self._size
        self.alive: Mask = np.zeros(self._size, dtype=bool)
        self.unschedulable: Mask = np.zeros(self._size, dtype=bool)
        self.allocatable: dict[str, Amounts] = {}
        self.used = {}
        self.guessed_cpu: Amounts = np.zeros(self._size, dtype=np.int64)
        self.guessed_memory: Amounts = np.zeros(self._size, dtype=np.int64)
        self.labels: dict[str, LabelColumn] = {}
        self.taints: dict[tuple[str, str, str], Mask] = {}
        self.ports: dict[Port, dict[int, int]] = {}
        """Host port to rows, and how many pods there hold it."""
        self.owners: dict[str, dict[int, int]] = {}
        """Controller uid to rows, and how many of its pods are there."""
        self.pods = {}
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
        before = self.nodes[row]
        self.nodes[row] = node
        self.unschedulable[row] = node.spec.unschedulable
        amounts = node.status.allocatable or node.status.capacity
        for resource in self.allocatable.keys() | amounts.keys():
            self._column(self.allocatable, resource)[row] = units(resource, amounts.get(resource, 0))
        if before is None or before.metadata.labels != node.metadata.labels:
            for key in self.labels.keys() | node.metadata.labels.keys():
                self.label(key).set(row, node.metadata.labels.get(key))
        if before is None or before.spec.taints != node.spec.taints:
            self._set_taints(row, node.spec.taints)
        if fresh:
            for pod in self._waiting.pop(name, {}).values():
                self.put_pod(pod, name)

    def remove_node(self, name: str) -> None:
        row = self.rows.pop(name, None)
        if row is None:
            return
        for pod, at, _ in list(self.pods.values()):
            if at == row:
                self.remove_pod(pod.metadata.uid)
                self._waiting.setdefault(name, {})[pod.metadata.uid] = pod
        self.alive[row] = False
        self.nodes[row] = None
        self.names[row] = ""
        for column in self.labels.values():
            column.set(row, None)
        self._set_taints(row, [])
        for amounts in self.allocatable.values():
            amounts[row] = 0
        self._free.append(row)

    def label(self, key: str) -> LabelColumn:
        column = self.labels.get(key)
        if column is None:
            column = self.labels[key] = LabelColumn(self._size)
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

    # -------------------------------------------------------------- pods

    def put_pod(self, pod: Pod, node_name: str = "") -> None:
        """On its node, or on the one named (an assumption). A pod that is there already is moved."""
        self.remove_pod(pod.metadata.uid)
        name = node_name or pod.spec.node_name
        row = self.rows.get(name)
        if row is None:
            self._waiting.setdefault(name, {})[pod.metadata.uid] = pod
            return
        request = request_of(pod)
        self.pods[pod.metadata.uid] = (pod, row, request)
        self._count(pod, row, request, 1)

    def remove_pod(self, uid: str) -> bool:
        """Whether it was there."""
        found = self.pods.pop(uid, None)
        if found is not None:
            self._count(*found, -1)
            return True
        for name, waiting in list(self._waiting.items()):
            if waiting.pop(uid, None) is not None:
                if not waiting:
                    del self._waiting[name]
                return True
        return False

    def _count(self, pod: Pod, row: int, request: Request, sign: int) -> None:
        for resource, amount in request.amounts.items():
            self._column(self.used, resource)[row] += sign * amount
        self.guessed_cpu[row] += sign * request.cpu_guess
        self.guessed_memory[row] += sign * request.memory_guess
        for port in request.ports:
            _tally(self.ports, port, row, sign)
        owner = controller_of(pod)
        if owner is not None:
            _tally(self.owners, owner.uid, row, sign)

    # -------------------------------------------------------------- columns

    def free(self, resource: str) -> Amounts:
        return self._column(self.allocatable, resource) - self._column(self.used, resource)

    def amounts(self, resource: str) -> Amounts:
        return self._column(self.allocatable, resource)

    def nothing(self) -> Mask:
        return np.zeros(self._size, dtype=bool)

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
        self.alive, self.unschedulable = longer(self.alive), longer(self.unschedulable)
        self.guessed_cpu, self.guessed_memory = longer(self.guessed_cpu), longer(self.guessed_memory)
        self.allocatable = {k: longer(v) for k, v in self.allocatable.items()}
        self.used = {k: longer(v) for k, v in self.used.items()}
        self.taints = {k: longer(v) for k, v in self.taints.items()}
        for column in self.labels.values():
            column.ids = longer(column.ids)
        self._free = list(range(self._size - 1, old - 1, -1))


def _tally(counts: dict[Any, dict[int, int]], key: Any, row: int, sign: int) -> None:
    rows = counts.setdefault(key, {})
    rows[row] = rows.get(row, 0) + sign
    if not rows[row]:
        del rows[row]
        if not rows:
            del counts[key]
