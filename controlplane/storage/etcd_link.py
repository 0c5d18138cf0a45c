"""The connection to etcd: one channel per endpoint, the next one when one fails, and etcd's errors in our own words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from aetcd.rpc import rpc_pb2_grpc

from controlplane.storage.errors import (
    Compacted,
    FutureRevision,
    OutcomeUnknown,
    StoreError,
    StoreFull,
    StoreUnavailable,
    ValueTooLarge,
)

ANSWER_WITHIN = 10.0
"""Seconds. etcd itself gives up a proposal after some seven."""
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]


@dataclass(frozen=True, slots=True)
class EtcdTls:
    ca: bytes
    cert: bytes | None = None
    key: bytes | None = None


class Link:
    """Made inside the running loop, as grpc.aio wants it."""

    def __init__(self, endpoints: Sequence[str], tls: EtcdTls | None) -> None:
        self._channels = [_channel(endpoint, tls) for endpoint in endpoints]
        self.current = 0
        self.closed = False

    @property
    def _channel(self) -> grpc.aio.Channel:
        return self._channels[self.current % len(self._channels)]

    async def call(self, method: str, request: Any, *, writes: bool = False) -> Any:
        """A unary call of the KV service. Raises StoreError; OutcomeUnknown only where `writes`."""
        used = self.current
        try:
            return await getattr(rpc_pb2_grpc.KVStub(self._channel), method)(request, timeout=ANSWER_WITHIN)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                self.turn(used)
            raise error_of(error, writes=writes) from error

    def watch(self) -> Any:
        """etcd ends it when its member loses its leader; else a member that was cut off would keep it, and be silent."""
        return rpc_pb2_grpc.WatchStub(self._channel).Watch(metadata=(("hasleader", "true"),))

    def turn(self, used: int | None = None) -> None:
        """To the next endpoint; once for many calls that failed on the same one."""
        if used is None or used == self.current:
            self.current += 1

    async def close(self) -> None:
        self.closed = True
        for channel in self._channels:
            await channel.close(None)


def _channel(endpoint: str, tls: EtcdTls | None) -> grpc.aio.Channel:
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=OPTIONS)
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
    return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)


def error_of(error: grpc.aio.AioRpcError, *, writes: bool) -> StoreError:
    code, text = error.code(), error.details() or error.code().name
    if "space exceeded" in text:
        return StoreFull(f"etcd has raised its NOSPACE alarm: compact, defragment, then disarm it ({text})")
    if "has been compacted" in text:
        return Compacted(0)
    if "future revision" in text:
        return FutureRevision(text)
    if "request is too large" in text or "message larger than max" in text:
        return ValueTooLarge(text)
    if "too many requests" in text or code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return StoreUnavailable(f"etcd refused: {text}")
    if writes:
        return OutcomeUnknown(f"etcd did not confirm the write, which may have taken place: {text}")
    return StoreUnavailable(f"etcd: {text}")
