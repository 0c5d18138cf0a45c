"""All of it in one process and in virtual time: the real API core with its HTTP door, controllers, scheduler, and the agent of
one hollow node."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from controlplane.apiserver.auth.attributes import User
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.http import HttpDoor
from controlplane.apiserver.doors.http_messages import Request
from controlplane.apiserver.doors.metrics import Metrics
from controlplane.scheduler.scheduler import Scheduler
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from node_agent.dialing import NowhereDialer
from node_agent.node_object import Machine
from node_agent.runtimes.hollow import HollowRuntime
from sampan.controllers import manager
from sampan.node import NodeConfig, build

CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
ADMIN = User("admin", ("system:masters",))
NODE = "n1"


@dataclass
class Cluster:
    client: Client
    door: HttpDoor
    loops: list[asyncio.Task[Any]]
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def ask(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        reply = await self.door.handle(Request(method, path, {"content-type": kind}, sent, ADMIN))
        assert isinstance(reply.body, bytes)
        assert reply.status < 500, (method, path, body, reply.body)
        self.answers[method, reply.status] += 1
        return json.loads(reply.body) if reply.status < 300 else None


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(1)) as api:
        calls = Calls(api, authenticator=api.authenticator, authorizer=api.authorizer)
        door = HttpDoor(calls, sessions=None, metrics=Metrics(), clock=CLOCK, ready=lambda: True)
        client = LocalClient(api, context=RequestContext)
        agent = build(
            NodeConfig(name=NODE, ip="192.0.2.1", data=Path("/nowhere")),
            client,
            HollowRuntime(clock=CLOCK),
            machine=Machine(cpus=8, memory=16 << 30, disk=100 << 30, pods=5000),
            clock=CLOCK,
            rng=Random(2),
            dialer=NowhereDialer(),
        )
        loops = [
            asyncio.create_task(manager(client, clock=CLOCK, rng=Random(3)).run(), name="controllers"),
            asyncio.create_task(Scheduler(client, clock=CLOCK, rng=Random(4)).run(), name="scheduler"),
            asyncio.create_task(agent.run(), name="agent"),
        ]
        try:
            await agent.ready.wait()
            yield Cluster(client, door, loops)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.wait(loops)
