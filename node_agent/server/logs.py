"""One container's log, as the runtime keeps it, cut off after so many bytes."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any

from node_agent.runtimes.interface import Container, Runtime


async def read_log(
    runtime: Runtime, container: Container, request: Any, since: datetime | None
) -> AsyncGenerator[bytes, None]:
    left = request.limit_bytes if request.HasField("limit_bytes") else None
    pieces: Any = runtime.logs(
        container.id,
        follow=request.follow,
        tail=request.tail_lines if request.HasField("tail_lines") else None,
        since=since,
        timestamps=request.timestamps,
    )
    async with aclosing(pieces):
        async for data in pieces:
            if left is not None:
                data, left = data[:left], left - len(data)
            if data:
                yield data
            if left is not None and left <= 0:
                return
