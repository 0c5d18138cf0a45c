"""pods/log: the agent's stream of bytes, passed on as it comes.

The first bytes are awaited before the reply begins, so that "no such container" is an error reply and not a
torn stream; but not for ever, because a silent container that is followed has none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import grpc.aio

from controlplane.apiserver.streaming.exec import container_of, reference, status_of
from controlplane.apiserver.streaming.node_link import EOF, NodeLink, translated
from kubeapi.clock import Clock
from kubeapi.errors import BadRequest
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.request_id import outgoing

PATIENCE = 0.5
"""Seconds to wait for the first bytes of a followed log before the reply begins without them."""


@dataclass(frozen=True, slots=True)
class LogWish:
    namespace: str
    pod: str
    container: str = ""
    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: str = ""
    timestamps: bool = False
    limit_bytes: int | None = None


async def open_log(link: NodeLink, wish: LogWish, clock: Clock) -> AsyncGenerator[bytes, None]:
    """Raises ApiError when there is nothing to read, and so does the returned generator, which must be closed."""
    _check(wish)
    pod = await link.pod(wish.namespace, wish.pod)
    container = container_of(pod, wish.container)
    if not pod.get("spec", {}).get("nodeName"):
        raise BadRequest(f'container "{container}" in pod "{wish.pod}" is waiting to start: not scheduled yet')
    if not wish.previous and (why := _why_silent(status_of(pod, container))):
        raise BadRequest(f'container "{container}" in pod "{wish.pod}" is waiting to start: {why}')
    since = wish.since_time
    if wish.since_seconds is not None:
        since = (clock.now() - timedelta(seconds=wish.since_seconds)).isoformat().replace("+00:00", "Z")
    request = pb.ContainerLogsRequest(
        container=reference(pod, container),
        follow=wish.follow,
        previous=wish.previous,
        tail_lines=wish.tail_lines,
        since_time=since,
        timestamps=wish.timestamps,
        limit_bytes=wish.limit_bytes,
    )
    async with AsyncExitStack() as stack:
        agent = await stack.enter_async_context(link.agent_of(pod))
        call = agent.ContainerLogs(request, metadata=outgoing())
        stack.callback(call.cancel)
        first = asyncio.create_task(call.read())
        try:
            await asyncio.wait({first}, timeout=PATIENCE if wish.follow else None)
            if first.done():
                first.result()
        except BaseException:
            first.cancel()
            raise
        pieces = _stream(call, first, stack.pop_all())
        await anext(pieces)
        return pieces
    raise AssertionError("unreachable: agent_of suppresses nothing")


async def _stream(call: Any, first: asyncio.Task[Any], stack: AsyncExitStack) -> AsyncGenerator[bytes, None]:
    try:
        yield b""  # so that the call is ended even when nobody ever reads on
        reply = await first
        while reply is not EOF:
            yield reply.data
            reply = await call.read()
    except grpc.aio.AioRpcError as error:
        raise translated(error, "the node's agent") from error
    finally:
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        await stack.aclose()


def _why_silent(status: dict[str, Any] | None) -> str:
    """Empty unless the container has never run: after a crash its last attempt has something to say."""
    if status is None or status.get("containerID") or "terminated" in (status.get("lastState") or {}):
        return ""
    waiting = (status.get("state") or {}).get("waiting")
    return str(waiting.get("reason") or "PodInitializing") if waiting is not None else ""


def _check(wish: LogWish) -> None:
    if wish.since_time:
        try:
            at = datetime.fromisoformat(wish.since_time)
        except ValueError:
            at = None
        if at is None or at.tzinfo is None:
            raise BadRequest(f"sinceTime: {wish.since_time!r} is no RFC 3339 time")
    if wish.since_seconds is not None and wish.since_time:
        raise BadRequest("at most one of sinceTime or sinceSeconds may be specified")
    for name, value, least in (
        ("tailLines", wish.tail_lines, 0),
        ("sinceSeconds", wish.since_seconds, 1),
        ("limitBytes", wish.limit_bytes, 1),
    ):
        if value is not None and value < least:
            raise BadRequest(f"{name}: must be at least {least}")
        if value is not None and value > 2**40:
            raise BadRequest(f"{name}: is too large")
