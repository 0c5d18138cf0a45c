"""The agent's gRPC service over a real connection, in front of the hollow runtime."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import pytest

from kubeapi.clock import SystemClock
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.pb.sampan.v1 import node_pb2_grpc as pb_grpc
from node_agent.dialing import PlainDialer
from node_agent.parts import Observer
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from node_agent.runtimes.interface import ContainerSpec, SandboxSpec
from node_agent.server import NodeServer, start_server
from node_agent.vitals import Usage

REF = pb.ContainerRef(namespace="default", pod="web", pod_uid="u1", container="c")


class LoopbackDialer(PlainDialer):
    """Every pod listens where the test does."""

    def __init__(self) -> None:
        self.port = 0

    async def dial(self, pid: int, host: str, port: int) -> Any:
        return await super().dial(pid, host, self.port)


@pytest.fixture
def dialer() -> LoopbackDialer:
    return LoopbackDialer()


@pytest.fixture
async def stub(dialer: LoopbackDialer) -> AsyncIterator[Any]:
    behaviour = Behaviour(output=b"one\ntwo\n", exec_replies={("false",): (1, b"no\n")})
    runtime = HollowRuntime(clock=SystemClock(), behaviours={"i": behaviour})
    await runtime.pull_image("i")
    sandbox = await runtime.run_sandbox(SandboxSpec(pod_uid="u1", name="web", namespace="default", hostname="web"))
    spec = ContainerSpec(pod_uid="u1", name="c", image="i", attempt=0, spec_hash="h")
    await runtime.start_container(spec, sandbox)
    servicer = NodeServer(
        node="n1", runtime=runtime, observer=Observer(runtime), dialer=dialer, clock=SystemClock(), secure=False
    )
    server, port = await start_server(servicer, address="127.0.0.1:0", tls=None)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.NodeAgentStub(channel)
    await server.stop(None)
    await runtime.close()


async def test_logs_and_their_limit(stub: Any) -> None:
    async def read(**options: Any) -> bytes:
        call = stub.ContainerLogs(pb.ContainerLogsRequest(container=REF, **options))
        return b"".join([reply.data async for reply in call])

    assert await read() == b"one\ntwo\n"
    assert await read(tail_lines=1) == b"two\n"
    assert await read(limit_bytes=5) == b"one\nt"


async def test_logs_of_an_unknown_container_are_not_found(stub: Any) -> None:
    ref = pb.ContainerRef(namespace="default", pod="web", pod_uid="u1", container="nobody")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in stub.ContainerLogs(pb.ContainerLogsRequest(container=ref)):
            pass
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_exec_streams_both_ways_and_tells_the_code(stub: Any) -> None:
    async def ask() -> AsyncIterator[Any]:
        yield pb.StreamInput(start=pb.StreamStart(container=REF, command=["cat"], stdin=True, stdout=True))
        yield pb.StreamInput(stdin=b"hello")
        yield pb.StreamInput(close_stdin=True)

    replies = [reply async for reply in stub.Exec(ask())]
    assert b"".join(r.stdout for r in replies) == b"hello"
    assert replies[-1].exit.code == 0


async def test_a_failed_command_tells_its_code(stub: Any) -> None:
    async def ask() -> AsyncIterator[Any]:
        yield pb.StreamInput(start=pb.StreamStart(container=REF, command=["false"], stdout=True))

    replies = [reply async for reply in stub.Exec(ask())]
    assert replies[-1].exit.code == 1


async def test_port_forward_carries_bytes_and_half_closes(stub: Any, dialer: LoopbackDialer) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read()).upper())
        writer.close()

    listener = await asyncio.start_server(shout, "127.0.0.1", 0)
    dialer.port = listener.sockets[0].getsockname()[1]

    async def ask() -> AsyncIterator[Any]:
        yield pb.PortForwardInput(start=pb.PortForwardStart(namespace="default", pod="web", pod_uid="u1", port=80))
        yield pb.PortForwardInput(data=b"hello")
        yield pb.PortForwardInput(close=True)

    replies = [reply async for reply in stub.PortForward(ask())]
    assert replies[0].connected
    assert b"".join(r.data for r in replies) == b"HELLO"
    assert replies[-1].close
    listener.close()


async def test_a_node_tells_what_its_machine_uses_not_the_sum_of_its_containers() -> None:
    runtime, seconds = HollowRuntime(clock=SystemClock()), iter((100.0, 100.5))
    moments = iter((10.0, 11.0))
    clock = SystemClock()
    clock.monotonic = lambda: next(moments)  # type: ignore[method-assign]
    servicer = NodeServer(
        node="n1", runtime=runtime, observer=Observer(runtime), dialer=PlainDialer(), clock=clock, secure=False,
        machine=lambda: Usage(next(seconds), 3 << 30), numbers=lambda: b"numbers 1\n",
    )  # fmt: skip
    server, port = await start_server(servicer, address="127.0.0.1:0", tls=None)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb_grpc.NodeAgentStub(channel)
        await stub.Stats(pb.StatsRequest())
        reply = await stub.Stats(pb.StatsRequest())
        assert (reply.cpu_cores, reply.memory_bytes, reply.window_seconds) == (0.5, 3 << 30, 1.0)
        assert (await stub.Metrics(pb.MetricsRequest())).body == b"numbers 1\n"
    await server.stop(None)
    await runtime.close()


async def test_stats_name_the_pod(stub: Any) -> None:
    reply = await stub.Stats(pb.StatsRequest())
    assert [(p.namespace, p.name, [c.name for c in p.containers]) for p in reply.pods] == [("default", "web", ["c"])]
