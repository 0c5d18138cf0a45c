"""One check of one container: exec, HTTP, TCP, gRPC. Used by probes and by lifecycle hooks alike."""

import asyncio
import ssl
from dataclasses import dataclass
from typing import Protocol

import grpc.aio

from kubeapi.clock import Clock
from kubeapi.types.core_v1 import Container as ContainerWish
from kubeapi.types.core_v1 import HTTPGetAction, HTTPHeader
from node_agent.dialing import Dialer
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.hollow import HollowRuntime
from node_agent.runtimes.interface import Container, Runtime

OUTPUT_LIMIT = 10 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What is checked."""

    container: Container
    wish: ContainerWish
    pod_ip: str
    pid: int
    """The sandbox's: whose network namespace is the pod's."""


@dataclass(frozen=True, slots=True)
class Verdict:
    good: bool
    text: str = ""


class Checker(Protocol):
    async def check(self, kind: str, handler: object, target: Target, *, timeout: float) -> Verdict: ...


class RealChecker:
    def __init__(self, *, runtime: Runtime, dialer: Dialer) -> None:
        self._runtime = runtime
        self._dialer = dialer

    async def check(self, kind: str, handler: object, target: Target, *, timeout: float) -> Verdict:
        try:
            async with asyncio.timeout(timeout):
                return await self._check(handler, target)
        except TimeoutError:
            return Verdict(False, f"command timed out after {timeout:g}s")
        except (OSError, RuntimeFault, ssl.SSLError, ValueError, asyncio.IncompleteReadError) as error:
            return Verdict(False, str(error) or type(error).__name__)

    async def _check(self, handler: object, target: Target) -> Verdict:
        if (command := getattr(handler, "exec", None)) is not None:
            return await self._exec(command.command, target)
        if (http := getattr(handler, "http_get", None)) is not None:
            return await self._http(http, target)
        if (tcp := getattr(handler, "tcp_socket", None)) is not None:
            port = port_number(tcp.port, target.wish)
            _, writer = await self._dialer.dial(target.pid, tcp.host or target.pod_ip, port)
            writer.close()
            return Verdict(True)
        if (nap := getattr(handler, "sleep", None)) is not None:
            await asyncio.sleep(nap.seconds)
            return Verdict(True)
        if (health := getattr(handler, "grpc", None)) is not None:
            return await ask_health(f"{target.pod_ip}:{health.port}", health.service or "")
        return Verdict(False, "this kind of check is not supported")

    async def _exec(self, command: list[str], target: Target) -> Verdict:
        stream = await self._runtime.exec(target.container.id, command)
        try:
            output = bytearray()
            async for _, data in stream.output():
                if len(output) < OUTPUT_LIMIT:
                    output += data
            code = await stream.exit_code()
        finally:
            await stream.close()
        return Verdict(code == 0, output[:OUTPUT_LIMIT].decode(errors="replace"))

    async def _http(self, action: HTTPGetAction, target: Target) -> Verdict:
        port = port_number(action.port, target.wish)
        host = action.host or target.pod_ip
        reader, writer = await self._dialer.dial(target.pid, host, port)
        try:
            if action.scheme == "HTTPS":
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                await writer.start_tls(context, server_hostname=host)
            writer.write(http_request(action, host, port))
            await writer.drain()
            line = (await reader.readline()).decode("latin-1").split()
        finally:
            writer.close()
        if len(line) < 2 or not line[1].isdigit():
            return Verdict(False, "the answer is not HTTP")
        code = int(line[1])
        return Verdict(200 <= code < 400, "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}")


async def ask_health(address: str, service: str) -> Verdict:
    """The standard health service. Its two messages of one field each are written here by hand."""
    name = service.encode()
    size = [len(name)] if len(name) < 128 else [len(name) & 127 | 128, len(name) >> 7]
    question = b"\x0a" + bytes(size) + name if name else b""
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check", _as_it_is, _as_it_is)
        try:
            reply = await check(question)
        except grpc.aio.AioRpcError as error:
            return Verdict(False, f"error: health rpc failed: {error.code().name}: {error.details()}")
    if reply == b"\x08\x01":
        return Verdict(True)
    status = {b"": "UNKNOWN", b"\x08\x02": "NOT_SERVING", b"\x08\x03": "SERVICE_UNKNOWN"}.get(bytes(reply), "UNKNOWN")
    return Verdict(False, f"service unhealthy (responded with {status!r})")


def _as_it_is(message: bytes) -> bytes:
    return message


class HollowChecker:
    """Asks the hollow runtime's script."""

    def __init__(self, *, runtime: HollowRuntime, clock: Clock) -> None:
        self._runtime = runtime
        self._clock = clock

    async def check(self, kind: str, handler: object, target: Target, *, timeout: float) -> Verdict:
        behaviour = self._runtime.behaviour(target.container.id)
        started = target.container.started or self._clock.now()
        age = (self._clock.now() - started).total_seconds()
        if kind == "liveness":
            good = behaviour.live_for is None or age < behaviour.live_for
        elif kind in ("readiness", "startup"):
            good = behaviour.ready_after is not None and age >= behaviour.ready_after
        else:
            if (nap := getattr(handler, "sleep", None)) is not None:
                await asyncio.sleep(min(nap.seconds, timeout))
            good = True
        return Verdict(good, "" if good else "hollow: scripted to fail")


def http_request(action: HTTPGetAction, host: str, port: int) -> bytes:
    headers = list(action.http_headers)
    given = {header.name.lower() for header in headers}
    for name, value in (("Host", f"{host}:{port}"), ("User-Agent", "sampan-probe/1"), ("Accept", "*/*")):
        if name.lower() not in given:
            headers.append(HTTPHeader(name=name, value=value))
    path = action.path or "/"
    lines = [f"GET {path if path.startswith('/') else '/' + path} HTTP/1.1"]
    lines += [f"{header.name}: {header.value}" for header in headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def port_number(port: int | str | None, wish: ContainerWish) -> int:
    """Raises ValueError for a name that no port of the container has."""
    if isinstance(port, int):
        return port
    if port is None:
        raise ValueError("the check names no port")
    if port.isdigit():
        return int(port)
    for known in wish.ports:
        if known.name == port:
            return known.container_port
    raise ValueError(f"container {wish.name} has no port named {port!r}")
