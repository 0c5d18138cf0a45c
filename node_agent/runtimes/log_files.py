"""Follows the files in which Docker's json-file driver keeps a container's log, across their rotation.

    ID-json.log.2 ─► ID-json.log.1 ─► ID-json.log        oldest first; rotation renames, and never writes an old one

The engine follows a log, too, but when it rotates it repeats lines or loses them (20.10, measured). Here a file that
was renamed is read to its end before its successor is opened: what was written is told once, unless it is rotated
away faster than it is read. Needs the engine's files on this machine; `followable` says whether they are.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from node_agent.runtimes.docker_spec import parse_time

BLOCK = 256 * 1024
TICK = 0.1
"""Seconds between two looks at a file that has not grown."""
LOOK = 5
"""After so many ticks without a line it is asked whether the container still runs."""
MISSES = 3
"""So often a file may be found under no name before it counts as deleted: renaming takes a moment."""


def followable(inspected: Mapping[str, Any]) -> Path | None:
    """The log's path, of a container as the engine tells it; None when we cannot read it."""
    kind = inspected.get("HostConfig", {}).get("LogConfig", {}).get("Type")
    path = Path(inspected.get("LogPath") or "/nonexistent")
    return path if kind == "json-file" and os.access(path, os.R_OK) else None


async def follow(
    path: Path,
    *,
    tail: int | None = None,
    since: datetime | None = None,
    timestamps: bool = False,
    running: Callable[[], Awaitable[bool]],
) -> AsyncGenerator[bytes, None]:
    """Ends when nothing is left to read and the container does not run."""
    reader = _Reader(path)
    text = _Text(since=since, timestamps=timestamps)
    try:
        last: deque[bytes] | None = None if tail is None else deque(maxlen=tail)
        idle = 0
        while True:
            block = await asyncio.to_thread(reader.read)
            if block:
                idle = 0
                lines = text.of(block)
                if last is not None:
                    last.extend(lines)
                elif lines:
                    yield b"".join(lines)
                continue
            if last is not None:  # the end of what there was when it was asked for
                held, last = b"".join(last), None
                if held:
                    yield held
                continue
            if reader.ended:
                return
            idle += 1
            if idle % LOOK == 0 and not await running():
                reader.ended = True  # nobody writes any more: one last look, and that is all
                continue
            await asyncio.sleep(TICK)
    finally:
        await asyncio.to_thread(reader.close)


class _Reader:
    """Bytes of all files, in order. Blocking."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._misses = 0
        self.ended = False

    def read(self) -> bytes:
        """b"" when there is no more for now."""
        while True:
            if self._file is None and not self._open(self._oldest()):
                return b""
            assert self._file is not None
            if block := self._file.read(BLOCK):
                return block
            newer = self._successor(self._file)
            if newer is None:
                return b""
            if block := self._file.read(BLOCK):  # written between the look and the renaming
                return block
            self._file.close()
            self._file = None
            if not self._open(newer):
                return b""

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _names(self) -> list[Path]:
        """Newest first, as far as they exist."""
        names = [self._path]
        while (older := self._path.with_name(f"{self._path.name}.{len(names)}")).exists():
            names.append(older)
        return names

    def _oldest(self) -> Path:
        return self._names()[-1]

    def _open(self, path: Path) -> bool:
        try:
            self._file = path.open("rb", buffering=0)
        except FileNotFoundError:
            return False  # renamed this very moment: the next look finds it
        return True

    def _successor(self, file: BinaryIO) -> Path | None:
        """The file that came after this one; None while it is the newest."""
        mine = os.fstat(file.fileno())
        names = self._names()
        for at, name in enumerate(names):
            try:
                found = name.stat()
            except FileNotFoundError:
                return None
            if (found.st_ino, found.st_dev) == (mine.st_ino, mine.st_dev):
                self._misses = 0
                return names[at - 1] if at else None
        self._misses += 1
        return names[-1] if self._misses >= MISSES else None


class _Entry(msgspec.Struct):
    log: str = ""
    time: str = ""


class _Text:
    """Lines of JSON into what the user sees. An entry without a line's end goes on in the next: Docker cuts long lines."""

    def __init__(self, *, since: datetime | None, timestamps: bool) -> None:
        self._since = since
        self._timestamps = timestamps
        self._decoder = msgspec.json.Decoder(_Entry)
        self._rest = b""
        self._begun = False

    def of(self, block: bytes) -> list[bytes]:
        *whole, self._rest = (self._rest + block).split(b"\n")
        found: list[bytes] = []
        for raw in whole:
            try:
                entry = self._decoder.decode(raw)
            except msgspec.MsgspecError:
                continue  # torn by a crash of the engine
            if self._since is not None:
                at = parse_time(entry.time)
                if at is not None and at < self._since:
                    continue
                self._since = None  # times only grow
            line = entry.log.encode()
            if self._begun and found:
                found[-1] += line
            elif self._begun or not self._timestamps:
                found.append(line)
            else:
                found.append(f"{_padded(entry.time)} ".encode() + line)
            self._begun = not line.endswith(b"\n")
        return found


def _padded(time: str) -> str:
    """With nine digits after the point, as the engine itself tells times."""
    seconds, _, rest = time.rstrip("Z").partition(".")
    return f"{seconds}.{rest:0<9}Z"
