"""The person's terminal: raw mode, its size as it changes, and standard input read without blocking the loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import termios
import threading
import tty
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO


@contextmanager
def raw(fd: int) -> Iterator[None]:
    before = termios.tcgetattr(fd)
    tty.setraw(fd)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


def size() -> tuple[int, int]:
    columns, lines = shutil.get_terminal_size()
    return columns, lines


async def tell_sizes(resize: Callable[[int, int], Awaitable[None]]) -> None:
    """The size now, and again whenever the window changes; until cancelled."""
    changed = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        while True:
            changed.clear()
            await resize(*size())
            await changed.wait()
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def chunks(source: BinaryIO, most: int) -> AsyncIterator[bytes]:
    """A daemon thread, not the loop's executor: a read that never returns must not keep the process alive."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=8)
    read = reader(source, most)

    def pump() -> None:
        while True:
            try:
                data = read()
            except (OSError, ValueError):
                data = b""
            try:
                asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return
            if not data:
                return

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while data := await queue.get():
        yield data


def reader(source: BinaryIO, most: int) -> Callable[[], bytes]:
    """What is there at once, of a file descriptor; of a buffer without one, plain reads."""
    try:
        fd = source.fileno()
    except (OSError, AttributeError):
        return lambda: source.read(most)
    return lambda: os.read(fd, most)
