"""The nodes as one shape of pod sees them, kept up to date between decisions about pods of that shape.

    a node changed            everything anew
    pods came or went         the rows they are on: does it fit, what is the resources' score
    what compares nodes       from the kept counts, each time

The result is the same as if everything were worked out anew for every pod (a property test holds it to that);
a decision then costs some tens of microseconds with thousands of nodes.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler import scores
from controlplane.scheduler.buckets import Buckets
from controlplane.scheduler.columns import Amounts, Mask
from controlplane.scheduler.domains import HardDomains
from controlplane.scheduler.filters import forbidden, forbidders, not_apart, not_near, ports_taken
from controlplane.scheduler.scores import RANKS
from controlplane.scheduler.shape import Shape
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.static import Static, static_of

MOST = 128
"""Rankings kept; the longest unused goes first."""
ROW_BY_ROW = 24
"""Changed rows up to which they are repaired one by one."""


class Ranking:
    static: Static
    fits: Mask
    """Passes the filters that look at one node alone."""
    local: Amounts
    """The scores that look at one node alone, times RANKS, plus the row's rank."""

    def __init__(self, shape: Shape, snapshot: Snapshot) -> None:
        self.shape = shape
        self._snapshot = snapshot
        self._version = -1
        self._seen = 0
        self._rules = -1
        self._drawers = -1
        self._rows: NDArray[np.intp] | None = None
        self._key: Amounts | None = None
        self._buckets: Buckets | None = None
        self._hard: list[HardDomains] | None = None
        self._generation = -1
        self._calls = 0
        self._too_many = -1
        """The version at which there were too many buckets."""

    # -------------------------------------------------------------- keeping up

    def refresh(self) -> None:
        snapshot = self._snapshot
        if self._version != snapshot.version or self._seen < snapshot.changes_before:
            self._rebuild()
        elif self._seen < snapshot.now:
            changed = set(snapshot.changes[self._seen - snapshot.changes_before :])
            if len(changed) > ROW_BY_ROW:
                self._resources()
            else:
                for row in changed:
                    self._repair(row)
                if self._buckets is not None:
                    self._buckets.update(changed)
            for domains in self._hard or ():
                domains.update(changed)
        self._seen = snapshot.now
        if self._generation != snapshot.tallies.generation:
            self._generation = snapshot.tallies.generation
            self._buckets = self._hard = None
        if self._rules != snapshot.forbidding.version:
            self._forbidders = forbidders(self.shape, snapshot)
            self._rules = snapshot.forbidding.version
        if self._drawers != snapshot.drawing.version:
            self._drawn = scores.drawers(self.shape, snapshot)
            self._drawers = snapshot.drawing.version

    def _rebuild(self) -> None:
        self.static = static_of(self.shape, self._snapshot)
        self._weights = scores.preferred(self.shape, self._snapshot)
        self._resources()
        self._hard = None
        self._calls = 0
        self._version = self._snapshot.version

    def _resources(self) -> None:
        snapshot, request = self._snapshot, self.shape.request
        fits = self.static.open.copy()
        for name, amount in request.amounts.items():
            if amount:
                fits &= snapshot.free(name) >= amount
        if request.ports:
            fits &= ~ports_taken(request, snapshot)
        local = scores.resources(request, snapshot)
        if self.static.images is not None:
            local += self.static.images
        self.fits = fits
        self.local = local * RANKS + snapshot.rank
        self._rows = self._key = self._buckets = None

    def _repair(self, row: int) -> None:
        snapshot, request = self._snapshot, self.shape.request
        fits = bool(self.static.open[row]) and scores.fits_at(request, snapshot, row)
        if fits and request.ports:
            fits = not ports_taken(request, snapshot)[row]
        if fits != self.fits[row]:
            self.fits[row] = fits
            self._rows = None
        score = scores.resources_at(request, snapshot, row)
        if self.static.images is not None:
            score += self.static.images.item(row)
        self.local[row] = score * RANKS + snapshot.rank.item(row)
        if self._key is not None:
            self._key[row] = self.local[row] if fits else -1

    # -------------------------------------------------------------- asking

    @property
    def sociable(self) -> bool:
        """Whether other pods, not only what they leave free, decide where one may go."""
        return bool(self.shape.hard or self.shape.near or self.shape.apart or self._forbidders)

    @property
    def plain(self) -> bool:
        """Whether each node's score is its own affair, but for soft spreading."""
        compares = self.shape.wishes or self._drawn or self.static.soft_taints is not None
        return not (compares or self._weights is not None or self.sociable)

    def feasible(self, extra: Mask | None = None) -> Mask:
        """After refresh. `extra`: rows that other considerations leave."""
        mask = self.fits if extra is None else self.fits & extra
        return mask & ~self.refused_by_pods() if self.sociable else mask

    def refused_by_pods(self) -> Mask:
        shape, snapshot = self.shape, self._snapshot
        mask = forbidden(self._forbidders, snapshot)
        if self._hard is None and shape.hard:
            pairs = zip(shape.hard, self.static.hard, strict=True)
            self._hard = [HardDomains(spread, eligible, snapshot) for spread, eligible in pairs]
        for domains in self._hard or ():
            mask |= domains.refused()
        if shape.near:
            mask |= not_near(shape, snapshot)
        if shape.apart:
            mask |= not_apart(shape, snapshot)
        return mask

    def best(self, extra: Mask | None = None) -> int:
        """The row to take, or -1."""
        self.refresh()
        if extra is None and self.plain:
            if not self.shape.soft:
                return self._best_alone()
            row = self._best_of_buckets()
            if row is not None:
                return row
        if extra is None and not self.sociable:
            if self._rows is None:
                self._rows = np.flatnonzero(self.fits)
            rows = self._rows
        else:
            rows = np.flatnonzero(self.feasible(extra))
        if not len(rows):
            return -1
        return int(rows[int(self._scores(rows).argmax())])

    def _best_alone(self) -> int:
        if self._key is None:
            self._key = np.where(self.fits, self.local, -1)
        row = int(self._key.argmax())
        return row if self._key.item(row) >= 0 else -1

    def _best_of_buckets(self) -> int | None:
        """None: the arrays are quicker. Buckets are made for the second pod of a kind, not for the first."""
        self._calls += 1
        if self._buckets is None:
            if self._calls < 2 or self._too_many == self._version:
                return None
            self._buckets = Buckets(self.shape, self.static, self._snapshot, self.fits, self.local)
        if self._buckets.many:
            self._buckets, self._too_many = None, self._version
            return None
        return self._buckets.best()

    def _scores(self, rows: NDArray[Any]) -> Amounts:
        total: Amounts = self.local[rows]
        snapshot, shape, static = self._snapshot, self.shape, self.static
        for weight, part in (
            (scores.TAINTS, scores.soft_taints(static, rows)),
            (scores.NODES, scores.preferred_nodes(self._weights, rows) if self._weights is not None else None),
            (scores.SPREAD, scores.spreading(shape, static, snapshot, rows)),
            (scores.PODS, scores.other_pods(shape, self._drawn, snapshot, rows)),
        ):
            if part is not None:
                total += part * (weight * RANKS)
        return total


class Rankings:
    """The rankings of the shapes in use."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: OrderedDict[Shape, Ranking] = OrderedDict()

    def of(self, shape: Shape) -> Ranking:
        ranking = self._known.get(shape)
        if ranking is None:
            ranking = self._known[shape] = Ranking(shape, self._snapshot)
            if len(self._known) > MOST:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(shape)
        return ranking
