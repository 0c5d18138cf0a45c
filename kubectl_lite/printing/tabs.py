"""Text with tabs set in columns, as Go's text/tabwriter does it: the layout that users of kubectl know.

A cell ends with a tab. A column is a block of adjacent lines that have a cell at that place, and is as wide as its
widest cell; a line without it ends the block. What follows a line's last tab belongs to no column.
"""

from __future__ import annotations

from collections.abc import Sequence


def align(lines: Sequence[str], *, least: int = 0, gap: int = 2) -> list[str]:
    """`least` is a column's smallest width, gap included."""
    split = [line.split("\t") for line in lines]
    padded = [list(cells) for cells in split]
    deepest = max((len(cells) - 1 for cells in split), default=0)
    for column in range(deepest):
        at = 0
        while at < len(split):
            if len(split[at]) - 1 <= column:
                at += 1
                continue
            end = at
            while end < len(split) and len(split[end]) - 1 > column:
                end += 1
            width = max(least, *(len(split[n][column]) + gap for n in range(at, end)))
            for n in range(at, end):
                padded[n][column] = split[n][column].ljust(width)
            at = end
    return ["".join(cells) for cells in padded]
