"""The pods in each domain of a hard spread constraint, kept up row by row for the next decision."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from controlplane.scheduler.columns import Mask
from controlplane.scheduler.shape import Spread
from controlplane.scheduler.snapshot import Snapshot


class HardDomains:
    def __init__(self, spread: Spread, eligible: Mask, snapshot: Snapshot) -> None:
        """Valid until a node changes or the tallies start a new generation."""
        self._spread, self._eligible = spread, eligible
        self._column = snapshot.label(spread.key)
        self._counts = snapshot.tallies.counts(spread.term)
        self._seen = self._counts.copy()
        size = len(self._column.values)
        weights = np.where(eligible, self._counts, 0)
        self._sums = np.bincount(self._column.ids, weights=weights, minlength=size).astype(np.int64)
        self._sums[0] = 0
        self._present = np.bincount(self._column.ids[eligible], minlength=size) > 0
        self._present[0] = False
        self._all = int(np.count_nonzero(self._present))

    def update(self, rows: Iterable[int]) -> None:
        for row in rows:
            number = self._counts.item(row)
            more = number - self._seen.item(row)
            if more:
                self._seen[row] = number
                domain = self._column.ids.item(row)
                if domain and self._eligible[row]:
                    self._sums[domain] += more

    def refused(self) -> Mask:
        """Rows without the label, and those where one more pod would be one too many."""
        if not self._all:
            over = np.zeros(len(self._sums), dtype=bool)
        else:
            least = int(self._sums[self._present].min()) if self._all >= self._spread.min_domains else 0
            over = self._sums + (self._spread.self_match - least) > self._spread.max_skew
        over[0] = True
        return over[self._column.ids]
