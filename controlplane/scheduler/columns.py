"""Columns over the rows of the snapshot: row i of every array is node i."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Amounts = NDArray[np.int64]


class LabelColumn:
    """One label key: per row the number of its value; 0 where the label is absent."""

    values: list[str | None]
    """By number. A number whose last row has gone is given to the next new value: nodes come and go for ever."""
    shared: int
    """Values that two rows or more have. While there are none, a domain is a row, and sums are not needed."""

    present: int
    """Rows that have the label."""

    def __init__(self, size: int, nodes: Callable[[], int]) -> None:
        """`nodes` says how many rows are in use."""
        self._nodes = nodes
        self.ids: NDArray[np.int32] = np.zeros(size, dtype=np.int32)
        self.values = [None]
        self.shared = 0
        self.present = 0
        self._uses = [0]
        self._numbers: dict[str, int] = {}
        self._free: list[int] = []

    def set(self, row: int, value: str | None) -> None:
        before = int(self.ids[row])
        number = 0 if value is None else self._number(value)
        if number == before:
            return
        self.present += bool(number) - bool(before)
        if number:
            self._uses[number] += 1
            self.shared += self._uses[number] == 2
        if before:
            self._uses[before] -= 1
            self.shared -= self._uses[before] == 1
            if not self._uses[before]:
                text = self.values[before]
                if text is not None:
                    del self._numbers[text]
                self.values[before] = None
                self._free.append(before)
        self.ids[row] = number

    def _number(self, value: str) -> int:
        number = self._numbers.get(value)
        if number is None:
            if self._free:
                number = self._free.pop()
                self.values[number] = value
            else:
                number = len(self.values)
                self.values.append(value)
                self._uses.append(0)
            self._numbers[value] = number
        return number

    @property
    def used(self) -> bool:
        return bool(self._numbers)

    def has(self) -> Mask:
        return self.ids > 0

    def value(self, row: int) -> str | None:
        return self.values[int(self.ids[row])]

    def where(self, wanted: Callable[[str | None], bool]) -> Mask:
        """Asked once per different value, not once per node."""
        table = np.array([wanted(value) for value in self.values], dtype=bool)
        return table[self.ids]

    def sums(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Per row, the sum over all rows that share its value; 0 where the label is absent. `counts` of rows that are not in
        use must be 0. Never change the result: it may be `counts` itself."""
        if not self.shared:
            return counts if self.present == self._nodes() else np.where(self.ids > 0, counts, 0)
        totals = np.bincount(self.ids, weights=counts, minlength=len(self.values))
        totals[0] = 0
        return totals.astype(np.int64)[self.ids]

    def longer(self, more: int) -> None:
        self.ids = np.concatenate([self.ids, np.zeros(more, dtype=np.int32)])
