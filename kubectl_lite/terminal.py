"""The person's terminal: raw mode, its size, and standard input read without blocking the loop."""

from __future__ import annotations

import asyncio
import os
import shutil
import termios
import threading
import tty
from collections.abc import AsyncIterator, Iterator
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


async def chunks(source: BinaryIO, most: int) -> AsyncIterator[bytes]:
    """A daemon thread, not the loop's executor: a read that never returns must not keep the process alive."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(maxsize=8)

    def pump() -> None:
        while True:
            data = os.read(source.fileno(), most)
            try:
                asyncio.run_coroutine_threadsafe(queue.put(data), loop).result()
            except (RuntimeError, asyncio.CancelledError):
                return
            if not data:
                return

    threading.Thread(target=pump, name="stdin", daemon=True).start()
    while data := await queue.get():
        yield data
