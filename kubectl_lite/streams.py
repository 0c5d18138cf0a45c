"""Where a verb reads and writes: passed in, so that a test hands it buffers and a terminal gets colour."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import BinaryIO, TextIO

RESET = "\x1b[0m"
COLOURS = {"green": "\x1b[32m", "red": "\x1b[31m", "yellow": "\x1b[33m", "dim": "\x1b[2m", "bold": "\x1b[1m"}


@dataclass(frozen=True, slots=True)
class Streams:
    out: TextIO
    err: TextIO
    stdin: BinaryIO
    colour: bool = False
    live: bool = False
    """Somebody watches `err`: what a long command is waiting for may be told there."""
    said: set[str] = field(default_factory=set)
    """Warnings and progress already shown: each is shown once, as kubectl does."""

    def say(self, text: str) -> None:
        self.out.write(text + "\n")

    def tell(self, text: str) -> None:
        """To the person, not into a pipe."""
        self.err.write(text + "\n")

    def progress(self, text: str) -> None:
        """Each text once, and only to somebody who watches."""
        if self.live and text not in self.said:
            self.said.add(text)
            self.err.write(f"{self.paint(text, 'dim')}\n")
            self.err.flush()

    def warn(self, text: str) -> None:
        if text not in self.said:
            self.said.add(text)
            self.err.write(f"{self.paint('Warning:', 'yellow')} {text}\n")

    def fail(self, text: str) -> None:
        self.err.write(f"{self.paint('error:', 'red')} {text}\n")

    def write_bytes(self, data: bytes, *, error: bool = False) -> None:
        """Exactly these bytes, at once."""
        sink = self.err if error else self.out
        raw = getattr(sink, "buffer", None)
        if raw is None:
            sink.write(data.decode(errors="replace"))
        else:
            sink.flush()
            raw.write(data)
        sink.flush()

    def paint(self, text: str, colour: str) -> str:
        return f"{COLOURS[colour]}{text}{RESET}" if self.colour else text


def terminal(*, no_color: bool) -> Streams:
    """The process's own streams; colour only on a terminal and unless NO_COLOR is set."""
    return Streams(
        out=sys.stdout,
        err=sys.stderr,
        stdin=sys.stdin.buffer,
        colour=sys.stdout.isatty() and not no_color,
        live=sys.stderr.isatty(),
    )
