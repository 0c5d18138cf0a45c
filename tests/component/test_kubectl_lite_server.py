"""What kubectl-lite makes of replies: warnings of every kind of call, each shown once."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio

from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import api_pb2_grpc
from kubeapi.scheme import SCHEME
from kubectl_lite.server import Server
from tests.component.kubectl_lite_world import captured

PODS = SCHEME.by_plural("", "v1", "pods")


class Warner(api_pb2_grpc.ApiServerServicer):  # type: ignore[misc]
    """Answers everything, with a warning that names the call."""

    async def Get(self, request: Any, call: Any) -> Any:
        return pb.ObjectReply(object=b"{}", warnings=["get", "old"])

    async def List(self, request: Any, call: Any) -> Any:
        return pb.ListReply(resource_version=1, warnings=["list", "old"])

    async def Table(self, request: Any, call: Any) -> Any:
        return pb.TableReply(table=json.dumps({"columnDefinitions": [], "rows": []}).encode(), warnings=["table"])

    async def Delete(self, request: Any, call: Any) -> Any:
        return pb.ObjectReply(warnings=["delete", "old"])


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Server, Any]]:
    listener = grpc.aio.server()
    api_pb2_grpc.add_ApiServerServicer_to_server(Warner(), listener)
    port = listener.add_insecure_port("127.0.0.1:0")
    await listener.start()
    streams = captured()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Server(channel, token="", timeout=5.0, warn=streams.warn), streams.err
    await listener.stop(0)


async def test_warnings_of_reads_and_deletes_are_shown_once() -> None:
    assert PODS is not None
    async with served() as (server, err):
        await server.get(PODS, "a", "default")
        await server.list(PODS, "default")
        await server.table(PODS, "default")
        await server.delete(PODS, "a", "default")
        words = [line.removeprefix("Warning: ") for line in err.getvalue().splitlines()]
    assert words == ["get", "old", "list", "table", "delete"]
