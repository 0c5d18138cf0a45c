"""Where a verb reads and writes: passed in, so that a test hands it strings and a terminal gets colour."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import BinaryIO, TextIO

RESET = "\x1b[0m"
COLOURS = {"green": "\x1b[32m", "red": "\x1b[31m", "yellow": "\x1b[33m", "dim": "\x1b[2m", "bold": "\x1b[1m"}


@dataclass(frozen=True, slots=True)
class Streams:
    out: TextIO
    err: TextIO
    stdin: BinaryIO
    colour: bool = False

    def say(self, text: str) -> None:
        print(text, file=self.out)

    def warn(self, text: str) -> None:
        print(f"{self.paint('Warning:', 'yellow')} {text}", file=self.err)

    def fail(self, text: str) -> None:
        print(f"{self.paint('error:', 'red')} {text}", file=self.err)

    def paint(self, text: str, colour: str) -> str:
        return f"{COLOURS[colour]}{text}{RESET}" if self.colour else text


def terminal(*, environ_no_color: bool) -> Streams:
    """The process's own streams; colour only on a terminal and unless NO_COLOR is set."""
    return Streams(
        out=sys.stdout,
        err=sys.stderr,
        stdin=sys.stdin.buffer,
        colour=sys.stdout.isatty() and not environ_no_color,
    )
