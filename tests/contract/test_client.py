"""The gRPC client over a real socket, against a server that answers by script."""

import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from kubeapi import codec
from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.errors import Expired, MethodNotAllowed, NotFound, ServiceUnavailable
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import api_pb2_grpc as services
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import ObjectMeta

POD = Pod(metadata=ObjectMeta(name="web", namespace="default"))
BATCHES, EVENTS = 5, 20


class Scripted(services.ApiServerServicer):  # type: ignore[misc]
    async def Get(self, request: Any, context: Any) -> Any:
        status = json.dumps(NotFound("no such pod", details={"name": request.name}).status()).encode()
        await context.abort(grpc.StatusCode.NOT_FOUND, "", (("sampan-status-bin", status),))

    async def Create(self, request: Any, context: Any) -> Any:
        return pb.ObjectReply(resource_version=3, object=request.object, warnings=["beware"])

    async def Watch(self, request: Any, context: Any) -> Any:
        body = codec.encode(POD)
        for batch in range(BATCHES):
            first = int(request.resource_version) + 1 + batch * EVENTS
            yield pb.WatchReply(
                events=[
                    pb.Event(type=pb.Event.MODIFIED, resource_version=first + n, object=body) for n in range(EVENTS)
                ]
            )
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "the history is gone")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    server = grpc.aio.server()
    services.add_ApiServerServicer_to_server(Scripted(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
async def client(address: str) -> AsyncIterator[GrpcClient]:
    async with connect(address) as client:
        yield client


async def test_a_status_comes_back_as_the_error_that_it_was(client: GrpcClient) -> None:
    with pytest.raises(NotFound, match="no such pod") as caught:
        await client.get(Pod, "web", "default")
    assert caught.value.details == {"name": "web"}


async def test_an_error_without_a_status_goes_by_its_code(client: GrpcClient) -> None:
    with pytest.raises(MethodNotAllowed):
        await client.delete(Pod, "web", "default")


async def test_warnings_are_passed_on(address: str) -> None:
    warned: list[str] = []
    async with connect(address, on_warning=warned.append) as client:
        assert (await client.create(POD)).metadata.name == "web"
    assert warned == ["beware"]


async def test_watch_yields_batches_in_order_and_says_when_the_history_is_gone(client: GrpcClient) -> None:
    seen: list[int] = []
    with pytest.raises(Expired):
        async for batch in client.watch(Pod, resource_version=7):
            seen += [event.resource_version for event in batch]
    assert seen == list(range(8, 8 + BATCHES * EVENTS))


async def test_no_server_is_service_unavailable() -> None:
    async with connect("127.0.0.1:1", timeout=5) as client:
        with pytest.raises(ServiceUnavailable):
            await client.get(Pod, "web", "default")
