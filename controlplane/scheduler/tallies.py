"""How many pods a term finds on each node: counted once when first asked, then kept with every pod that comes or goes.

A pod's change costs as many additions as there are counts that it belongs to: which these are is worked out once
per kind of pod, not per pod.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.terms import NamespaceLabels, PodKind, Term

Counts = NDArray[np.int64]
MOST = 1024
"""Counts kept. Past that all are dropped, and made again as they are asked for."""


class _Kind:
    __slots__ = ("counts", "labels", "rows")

    def __init__(self, kind: PodKind) -> None:
        self.labels = dict(kind.labels)
        self.rows: dict[int, int] = {}
        self.counts: list[Counts] = []


class Tallies:
    _kinds: dict[PodKind, _Kind]
    """The kinds that have a pod somewhere, with rows and numbers of pods."""
    _counts: dict[tuple[Term, ...], Counts]
    """A pod counts when all of the terms select it. The same arrays hang at every kind that they count."""
    generation: int
    """Rises when arrays given out before are no longer kept up."""

    def __init__(self, size: int, namespaces: NamespaceLabels) -> None:
        self._size = size
        self._namespaces = namespaces
        self._kinds = {}
        self._counts = {}
        self.generation = 0

    def add(self, kind: PodKind, row: int, sign: int) -> None:
        found = self._kinds.get(kind)
        if found is None:
            found = self._kinds[kind] = _Kind(kind)
            found.counts = [c for terms, c in self._counts.items() if self._selects(terms, kind, found.labels)]
        number = found.rows.get(row, 0) + sign
        if number:
            found.rows[row] = number
        else:
            del found.rows[row]
        for counts in found.counts:
            counts[row] += sign
        if not found.rows:
            del self._kinds[kind]

    def counts(self, *terms: Term) -> Counts:
        """Per row the pods that all terms select. Live: never change it, and ask again after `generation` rose."""
        found = self._counts.get(terms)
        if found is None:
            if len(self._counts) >= MOST:
                self.forget()
            found = self._counts[terms] = np.zeros(self._size, dtype=np.int64)
            for kind, entry in self._kinds.items():
                if self._selects(terms, kind, entry.labels):
                    entry.counts.append(found)
                    for row, number in entry.rows.items():
                        found[row] += number
        return found

    def forget(self) -> None:
        """Whom the terms select may have changed."""
        self._counts.clear()
        for entry in self._kinds.values():
            entry.counts = []
        self.generation += 1

    def grow(self, size: int) -> None:
        self._size = size
        self.forget()

    def _selects(self, terms: tuple[Term, ...], kind: PodKind, labels: dict[str, str]) -> bool:
        return all(term.selects(kind, labels, self._namespaces) for term in terms)


class Holders:
    """Pods that hold a rule about others: per rule and topology key, how many of them are on each row."""

    _rows: dict[Any, dict[int, int]]
    version: int
    """Rises when a rule comes that was not there, or goes."""

    def __init__(self) -> None:
        self._rows = {}
        self.version = 0

    def add(self, rule: tuple[Term, str, int], row: int, sign: int) -> None:
        rows = self._rows.get(rule)
        if rows is None:
            rows = self._rows[rule] = {}
            self.version += 1
        number = rows.get(row, 0) + sign
        if number:
            rows[row] = number
        else:
            del rows[row]
            if not rows:
                del self._rows[rule]
                self.version += 1

    def rules(self) -> list[tuple[Term, str, int]]:
        """(who is meant, topology key, weight)."""
        return list(self._rows)

    def counts(self, rule: tuple[Term, str, int], size: int) -> Counts:
        found = np.zeros(size, dtype=np.int64)
        rows = self._rows.get(rule)
        if rows:
            found[np.fromiter(rows, dtype=np.int64, count=len(rows))] = np.fromiter(rows.values(), np.int64, len(rows))
        return found
