"""Health over gRPC, asked of a real server."""

from collections.abc import AsyncIterator, Callable

import grpc.aio
import pytest

from node_agent.checks import ask_health

ANSWERS = {b"": b"\x08\x01", b"\x0a\x02up": b"\x08\x01", b"\x0a\x04down": b"\x08\x02"}


@pytest.fixture
async def address() -> AsyncIterator[str]:
    async def check(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        if request not in ANSWERS:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return ANSWERS[request]

    plain: Callable[[bytes], bytes] = lambda data: data  # noqa: E731
    handler = grpc.unary_unary_rpc_method_handler(check, plain, plain)  # type: ignore[arg-type]
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


async def test_the_whole_server_or_one_service_is_asked(address: str) -> None:
    assert (await ask_health(address, "")).good
    assert (await ask_health(address, "up")).good
    down = await ask_health(address, "down")
    assert (down.good, down.text) == (False, "service unhealthy (responded with 'NOT_SERVING')")
    unknown = await ask_health(address, "x" * 300)
    assert not unknown.good and "NOT_FOUND: unknown service" in unknown.text


async def test_nobody_there_is_a_failure_at_once() -> None:
    verdict = await ask_health("127.0.0.1:1", "")
    assert not verdict.good and "UNAVAILABLE" in verdict.text
