"""A stream that ends when its time is up, or when its source ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def until(source: AsyncIterator[T], seconds: float) -> AsyncGenerator[T, None]:
    """0: for ever. The source is closed with the stream."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds if seconds else None
    pending: asyncio.Future[T] = asyncio.ensure_future(anext(source))
    try:
        while True:
            left = None if deadline is None else max(0.0, deadline - loop.time())
            done, _ = await asyncio.wait([pending], timeout=left)
            if not done:
                return
            try:
                one = pending.result()
            except StopAsyncIteration:
                return
            pending = asyncio.ensure_future(anext(source))
            yield one
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await source.aclose()  # type: ignore[attr-defined]
