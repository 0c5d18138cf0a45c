"""The controllers on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1
from sampan.controllers import manager
from tests.support.fake_kubelet import FakeKubelet
from tests.support.make import make_template

CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
LABELS = {"app": "web"}


@asynccontextmanager
async def controllers() -> AsyncIterator[Client]:
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(3)) as api:
        local = LocalClient(api, context=RequestContext)
        running = asyncio.create_task(manager(local, clock=CLOCK, rng=Random(7)).run(), name="controllers")
        yield local
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def nodes(client: Client, *names: str) -> AsyncIterator[FakeKubelet]:
    async with asyncio.TaskGroup() as tasks:
        kubelet = FakeKubelet(client, CLOCK, tasks)
        await kubelet.start(*names)
        yield kubelet
        kubelet.stop()


def template(image: str = "app:1", **notes: str) -> core_v1.PodTemplateSpec:
    made = make_template(LABELS, image)
    annotations = {f"test/{key}": value for key, value in notes.items()}
    return replace(made, metadata=replace(made.metadata, annotations=annotations))


def meta(name: str) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace="default")


async def pods(client: Client) -> list[core_v1.Pod]:
    return (await client.list(core_v1.Pod, "default")).items
