"""The way from the API server to a node's agent: which address, which channel, and its errors in our words.

Channels are kept: one per node, remade when the node's address changes. The agent's certificate must be for
its address; ours says we are the API server.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from kubeapi.errors import ApiError, BadRequest, NotFound, ServiceUnavailable, from_status
from kubeapi.pb.sampan.v1 import node_pb2_grpc

STATUS_KEY = "sampan-status-bin"
OPTIONS = [
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    # A node that vanishes without a word is noticed within half a minute while anything is open to it.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # An agent that comes back is found soon, not after two minutes of growing patience.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 5_000),
]
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
"""What a call's read() gives once there is no more."""

Getter = Callable[[str, str, str], Awaitable[dict[str, Any]]]
"""(plural of the core group, namespace, name) -> the object as plain JSON values; raises NotFound."""


class _NoNode(NotFound):
    pass


class NodeLink:
    def __init__(self, get: Getter, *, credentials: grpc.ChannelCredentials | None) -> None:
        self._get = get
        self._credentials = credentials
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def get(self, plural: str, namespace: str, name: str) -> dict[str, Any]:
        """An object of the core group. Raises NotFound."""
        return await self._get(plural, namespace, name)

    async def pod(self, namespace: str, name: str) -> dict[str, Any]:
        return await self._get("pods", namespace, name)

    @asynccontextmanager
    async def agent_of(self, pod: dict[str, Any]) -> AsyncIterator[Any]:
        """A NodeAgentStub for the node that runs this pod; gRPC's errors leave it as ApiErrors."""
        name = pod.get("spec", {}).get("nodeName", "")
        if not name:
            raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")
        try:
            async with self.agent_on(name) as stub:
                yield stub
        except _NoNode as error:
            raise ServiceUnavailable(f"the pod's node {name} is gone") from error

    @asynccontextmanager
    async def agent_on(self, name: str) -> AsyncIterator[Any]:
        """The same for a node by its name. NotFound, too."""
        try:
            node = await self._get("nodes", "", name)
        except NotFound as error:
            raise _NoNode(error.message) from error
        stub = node_pb2_grpc.NodeAgentStub(self._channel(address_of(node)))
        try:
            yield stub
        except grpc.aio.AioRpcError as error:
            raise translated(error, f"the agent of node {name}") from error

    def _channel(self, address: str) -> grpc.aio.Channel:
        channel = self._channels.get(address)
        if channel is None:
            if self._credentials is None:
                channel = grpc.aio.insecure_channel(address, options=OPTIONS)
            else:
                channel = grpc.aio.secure_channel(address, self._credentials, options=OPTIONS)
            self._channels[address] = channel
        return channel

    async def close(self) -> None:
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            await channel.close(None)


def address_of(node: dict[str, Any]) -> str:
    """host:port of the node's agent, as the node's status tells. Raises ServiceUnavailable."""
    status = node.get("status", {})
    name = node.get("metadata", {}).get("name", "")
    port = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", 0)
    by_type = {a.get("type"): a.get("address") for a in status.get("addresses", [])}
    host = by_type.get("InternalIP") or by_type.get("Hostname")
    if not host or not port:
        raise ServiceUnavailable(f"node {name} has not said where its agent listens")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def translated(error: grpc.aio.AioRpcError, whose: str) -> ApiError:
    trailer: Any = error.trailing_metadata()
    for key, value in trailer or ():
        if key == STATUS_KEY:
            return from_status(json.loads(value))
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        return ServiceUnavailable(f"{whose} cannot be reached: {error.details()}")
    if error.code() is grpc.StatusCode.NOT_FOUND:
        return NotFound(error.details() or "not found")
    if error.code() in (grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.INVALID_ARGUMENT):
        return BadRequest(error.details() or "the node's agent refuses")
    return BadRequest(f"{whose}: {error.details()}")
