"""The best row when nodes are told apart by their resources and by soft spreading only: the most common case by far.

Rows with equal numbers of the workload's pods, on the host and in each of its domains, have equal spreading scores:
they lie in one bucket. Of a bucket the row with the best score of its own is on top of a heap (entries that no longer
hold are dropped when they come up). So a decision compares a handful of buckets, however many nodes there are.

    placed on row r ──► r changes its bucket; its domain's sum rises, and with it the score of the domain's buckets
    best            ──► score each bucket, add its top, take the largest

The same numbers, in the same order of addition, as scores.spreading: the results are equal, not nearly equal.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable

import numpy as np

from controlplane.scheduler import scores
from controlplane.scheduler.columns import Amounts, LabelColumn, Mask
from controlplane.scheduler.shape import HOSTNAME, Shape, weight_of
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.static import Static
from controlplane.scheduler.tallies import Counts

MOST = 48
"""Buckets up to which this is quicker than the arrays."""

Place = tuple[int, ...]
"""Per constraint the number on the host (-1 without the label) or the number of the domain (0 without); empty: the
constraints do not speak to this row."""


class _Constraint:
    __slots__ = ("column", "counts", "domains", "eligible", "host", "rows_in", "seen", "skew", "sums")

    def __init__(self, host: bool, skew: int, column: LabelColumn, counts: Counts, eligible: Mask) -> None:
        self.host, self.skew, self.column, self.counts, self.eligible = host, skew, column, counts, eligible
        self.domains = 0
        """Different domains among the rows in buckets."""
        if not host:
            size = len(column.values)
            self.seen = counts.copy()
            self.sums = np.bincount(column.ids, weights=np.where(eligible, counts, 0), minlength=size).tolist()
            self.rows_in = [0] * size


class Buckets:
    _places: list[Place | None]
    """By row; None for those where the pod does not fit."""
    _tops: dict[Place, list[tuple[int, int]]]
    """Heaps of (-own score, row). Each row of the bucket has a true entry in it; untrue ones may lie there too."""
    _sizes: dict[Place, int]

    def __init__(self, shape: Shape, static: Static, snapshot: Snapshot, fits: Mask, local: Amounts) -> None:
        self._snapshot, self._heeds, self._fits, self._local = snapshot, static.soft_heeds, fits, local
        self._constraints = [
            _Constraint(s.key == HOSTNAME, s.max_skew, column, snapshot.tallies.counts(s.term), eligible)
            for s, eligible in zip(shape.soft, static.soft, strict=True)
            if (column := snapshot.label(s.key)).used
        ]
        self.generation = snapshot.tallies.generation
        self._places = [None] * snapshot.size
        self._tops = {}
        self._sizes = {}
        self._heeding = 0
        for row in np.flatnonzero(fits).tolist():
            place = self._places[row] = self._enter(row)
            self._tops.setdefault(place, []).append((-local.item(row), row))
        for heap in self._tops.values():
            heapq.heapify(heap)

    @property
    def many(self) -> bool:
        return len(self._sizes) > MOST

    # -------------------------------------------------------------- keeping up

    def update(self, rows: Iterable[int]) -> None:
        """After `fits` and `local` were repaired for these rows."""
        for row in rows:
            for c in self._constraints:
                if not c.host:
                    number = c.counts.item(row)
                    more = number - c.seen.item(row)
                    if more:
                        c.seen[row] = number
                        if c.eligible[row]:
                            c.sums[c.column.ids.item(row)] += more
            before = self._places[row]
            if before is not None:
                self._leave(row, before)
            if self._fits[row]:
                place = self._places[row] = self._enter(row)
                heap = self._tops.setdefault(place, [])
                heapq.heappush(heap, (-self._local.item(row), row))
                if len(heap) > 2 * self._sizes[place] + 64:
                    self._clean(place, heap)
            else:
                self._places[row] = None

    def _enter(self, row: int) -> Place:
        if self._heeds is not None and not self._heeds[row]:
            place: Place = ()
        else:
            numbers = []
            for c in self._constraints:
                domain = c.column.ids.item(row)
                if c.host:
                    numbers.append(c.counts.item(row) if domain else -1)
                else:
                    numbers.append(domain)
                    c.rows_in[domain] += 1
                    c.domains += domain > 0 and c.rows_in[domain] == 1
            place = tuple(numbers) or (0,)
            self._heeding += 1
        self._sizes[place] = self._sizes.get(place, 0) + 1
        return place

    def _clean(self, place: Place, heap: list[tuple[int, int]]) -> None:
        """Drops the entries that no longer hold."""
        true = {e for e in heap if self._places[e[1]] == place and self._local.item(e[1]) == -e[0]}
        heap[:] = sorted(true)

    def _leave(self, row: int, place: Place) -> None:
        if place:
            self._heeding -= 1
            for c, domain in zip(self._constraints, place, strict=False):
                if not c.host:
                    c.rows_in[domain] -= 1
                    c.domains -= domain > 0 and not c.rows_in[domain]
        self._sizes[place] -= 1
        if not self._sizes[place]:
            del self._sizes[place]
            self._tops.pop(place, None)

    # -------------------------------------------------------------- asking

    def best(self) -> int:
        """The row to take, or -1."""
        raw: dict[Place, int] = {}
        weights = [weight_of(self._heeding if c.host else c.domains) for c in self._constraints]
        for place in self._sizes:
            if place:
                raw[place] = self._raw(place, weights)
        least, most = (min(raw.values()), max(raw.values())) if raw else (0, 0)
        found, best = -1, -1
        for place in self._sizes:
            score = (100 * (most + least - raw[place]) // most if most else 100) if place else 0
            value, row = self._top(place)
            value += score * scores.SPREAD * scores.RANKS
            if value > best or (value == best and row < found):
                found, best = row, value
        return found

    def _raw(self, place: Place, weights: list[float]) -> int:
        total = 0.0
        for c, number, weight in zip(self._constraints, place, weights, strict=False):
            if c.host:
                if number >= 0:
                    total += number * weight + (c.skew - 1)
            elif number:
                total += c.sums[number] * weight + (c.skew - 1)
        return math.floor(total + 0.5)

    def _top(self, place: Place) -> tuple[int, int]:
        heap = self._tops[place]
        while True:
            negative, row = heap[0]
            if self._places[row] == place and self._local.item(row) == -negative:
                return -negative, row
            heapq.heappop(heap)
