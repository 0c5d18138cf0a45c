"""A real API server's core behind its real gRPC door on loopback, and kubectl-lite's verbs run against it in process."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import grpc.aio

from controlplane.apiserver.api import Api
from controlplane.apiserver.auth.authn import Authenticator, User
from controlplane.apiserver.auth.authz import Authorizer
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.grpc import GrpcDoor
from controlplane.apiserver.doors.metrics import Metrics
from controlplane.apiserver.streaming.sessions import Sessions
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.local import LocalClient
from kubeapi.clock import Clock, SystemClock
from kubeapi.pb.sampan.v1 import api_pb2_grpc
from kubectl_lite.errors import UsageError
from kubectl_lite.names import Names
from kubectl_lite.running import FAILED, build_flags, run_in, subcommand, told
from kubectl_lite.server import Server
from kubectl_lite.session import Session
from kubectl_lite.streams import Streams
from kubectl_lite.table import load

ADMIN = User("admin", ("system:masters", "system:authenticated"))


@dataclass(slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class Told(io.StringIO):
    """What a command that goes on has printed so far."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def write(self, text: str) -> int:
        self._more.set()
        return super().write(text)

    async def lines(self, count: int) -> list[str]:
        """As soon as there are so many."""
        async with asyncio.timeout(10):
            while self.getvalue().count("\n") < count:
                self._more.clear()
                await self._more.wait()
        return self.getvalue().splitlines()


def captured(stdin: bytes = b"") -> Streams:
    """Whose `out` and `err` are text in memory."""
    return Streams(out=io.StringIO(), err=io.StringIO(), stdin=io.BytesIO(stdin))


@dataclass(slots=True)
class World:
    api: Api
    server: Server
    client: LocalClient
    """The typed client, for what a test needs beside the CLI."""
    clock: Clock
    address: str
    environ: dict[str, str] = field(default_factory=dict)
    here: Path = Path()
    warnings: list[str] = field(default_factory=list)

    async def run(self, *words: str, stdin: bytes = b"") -> Result:
        """As the command line does it, but for the connection."""
        out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        code = await self.run_into(Streams(out=out, err=err, stdin=io.BytesIO(stdin)), *words)
        for warning in self.warnings:
            err.write(f"Warning: {warning}\n")
        self.warnings.clear()
        return Result(code, out.buffer.getvalue().decode(errors="replace"), err.getvalue())  # type: ignore[attr-defined]

    @asynccontextmanager
    async def going_on(self, *words: str, live: bool = False) -> AsyncIterator[tuple[Told, Told]]:
        """A command that does not end by itself: what it says, and what it complains of or tells a person."""
        out, err = Told(), Told()
        streams = Streams(out=out, err=err, stdin=io.BytesIO(), live=live)
        task = asyncio.create_task(self.run_into(streams, *words))
        try:
            yield out, err
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def run_into(self, streams: Streams, *words: str) -> int:
        verb = load(words[0])
        try:
            chosen, prog, rest = subcommand(verb, f"kubectl-lite {words[0]}", list(words[1:]))
            assert chosen is not None, "a subcommand is missing"
            args = build_flags(prog, chosen).parse(rest)
            session = Session(
                server=self.server,
                names=Names(self.server.discovery),
                namespace=args.namespace or "default",
                io=streams,
                clock=self.clock,
                all_namespaces=getattr(args, "all_namespaces", False),
                explicit_namespace=bool(args.namespace),
                environ=self.environ,
                here=self.here,
                address=self.address,
            )
        except UsageError as error:
            streams.fail(str(error))
            return FAILED.get(words[0], 1)
        return await told(run_in(chosen, args, session), streams, FAILED.get(words[0], 1))

    async def ok(self, *words: str, stdin: bytes = b"") -> str:
        result = await self.run(*words, stdin=stdin)
        assert result.code == 0, result.err + result.out
        return result.out

    async def apply(self, text: str) -> str:
        return await self.ok("apply", "-f", "-", stdin=text.encode())


@asynccontextmanager
async def world(*, clock: Clock | None = None, sessions: Any = None, here: Path = Path()) -> AsyncIterator[World]:
    """`sessions(api, clock)` makes what reaches the nodes."""
    store, time = EmbeddedStore(), clock or SystemClock()
    async with api_core(store=store, clock=time, rng=Random(1)) as api:
        calls = Calls(api, authenticator=Authenticator(()), authorizer=Authorizer())
        reach: Sessions | None = sessions(api, time) if sessions is not None else None
        door = GrpcDoor(calls, sessions=reach, metrics=Metrics(), clock=time, insecure_user=ADMIN)
        listener = grpc.aio.server()
        api_pb2_grpc.add_ApiServerServicer_to_server(door, listener)
        port = listener.add_insecure_port("127.0.0.1:0")
        await listener.start()
        address = f"127.0.0.1:{port}"
        warnings: list[str] = []
        async with grpc.aio.insecure_channel(address) as channel:
            server = Server(channel, token="", timeout=10.0, warn=warnings.append)
            local = LocalClient(api, context=RequestContext)
            yield World(api, server, local, time, address, here=here, warnings=warnings)
        await listener.stop(timedelta(seconds=0.1).total_seconds())
    await store.close()
