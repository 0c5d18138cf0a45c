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

    _rows: dict[Any, Counts]
    _totals: dict[Any, int]
    """The sum of each; a rule that nobody holds is not there."""
    version: int
    """Rises when a rule comes that was not there, or goes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows = {}
        self._totals = {}
        self.version = 0

    def add(self, rule: tuple[Term, str, int], row: int, sign: int) -> None:
        total = self._totals.get(rule, 0) + sign
        if rule not in self._rows:
            self._rows[rule] = np.zeros(self._size, dtype=np.int64)
            self.version += 1
        self._rows[rule][row] += sign
        self._totals[rule] = total
        if not total:
            del self._rows[rule], self._totals[rule]
            self.version += 1

    def rules(self) -> list[tuple[Term, str, int]]:
        """(who is meant, topology key, weight)."""
        return list(self._rows)

    def counts(self, rule: tuple[Term, str, int]) -> Counts:
        """Per row its holders. Live: never change it."""
        found = self._rows.get(rule)
        return found if found is not None else np.zeros(self._size, dtype=np.int64)

    def grow(self, size: int) -> None:
        more = size - self._size
        self._size = size
        self._rows = {r: np.concatenate([c, np.zeros(more, dtype=np.int64)]) for r, c in self._rows.items()}
