"""Controllers on a server that goes away, answers late, or loses its answers: in virtual time, on the real API core."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import ServiceUnavailable
from kubeapi.meta import replace
from kubeapi.types import apps_v1, batch_v1, core_v1, meta_v1
from sampan.controllers import manager
from tests.support.fake_kubelet import FakeKubelet
from tests.support.make import make_deployment, make_template
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))


class Unreliable(LocalClient):
    """Loses the answers of `lost` parts of all writes; tells changes `lag` seconds late; while `down`, nothing gets through.

    `read_only`: writes are refused. What is lost has been done all the same."""

    def __init__(self, api: Api, rng: Random) -> None:
        super().__init__(api, context=RequestContext)
        self.lost = self.lag = 0.0
        self.down = False
        self.read_only = False
        self._rng = rng

    def _enter(self, *, writes: bool = False) -> None:
        if self.down or (writes and self.read_only):
            raise ServiceUnavailable("no connection")

    def _leave(self) -> None:
        if self._rng.random() < self.lost:
            raise ServiceUnavailable("the connection was lost before the answer came")

    async def get(self, *args: Any, **kwargs: Any) -> Any:
        self._enter()
        return await super().get(*args, **kwargs)

    async def list(self, *args: Any, **kwargs: Any) -> Any:
        self._enter()
        return await super().list(*args, **kwargs)

    async def watch(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        self._enter()
        async for batch in super().watch(*args, **kwargs):
            self._enter()
            await asyncio.sleep(self.lag)
            yield batch

    async def create(self, *args: Any, **kwargs: Any) -> Any:
        self._enter(writes=True)
        made = await super().create(*args, **kwargs)
        self._leave()
        return made

    async def update(self, *args: Any, **kwargs: Any) -> Any:
        self._enter(writes=True)
        written = await super().update(*args, **kwargs)
        self._leave()
        return written

    async def patch(self, *args: Any, **kwargs: Any) -> Any:
        self._enter(writes=True)
        written = await super().patch(*args, **kwargs)
        self._leave()
        return written

    async def delete(self, *args: Any, **kwargs: Any) -> None:
        self._enter(writes=True)
        await super().delete(*args, **kwargs)
        self._leave()


class Cluster:
    def __init__(self, api: Api, client: Unreliable) -> None:
        self.api = LocalClient(api, context=RequestContext)
        self.client = client

    async def deploy(self, replicas: int) -> None:
        deployment = make_deployment(replicas=replicas)
        meta = replace(deployment.metadata, uid="", creation_timestamp=None)
        await self.api.create(replace(deployment, metadata=meta))


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(3)) as api:
        client = Unreliable(api, Random(5))
        running = asyncio.create_task(manager(client, clock=CLOCK, rng=Random(7)).run(), name="controllers")
        yield Cluster(api, client)
        running.cancel()
        await asyncio.wait([running])


async def test_no_pod_is_made_twice_when_answers_are_lost_and_caches_are_behind(cluster: Cluster) -> None:
    cluster.client.lost, cluster.client.lag = 0.3, 3.0
    revision = (await cluster.api.list(core_v1.Pod, "default")).resource_version
    await cluster.deploy(40)
    await until(cluster.api, core_v1.Pod, lambda pods: len(pods) == 40)
    await asyncio.sleep(600)
    made = set()
    async with asyncio.timeout(1):
        async for batch in cluster.api.watch(core_v1.Pod, "default", resource_version=revision):
            made |= {event.object.metadata.uid for event in batch if event.type == "ADDED"}
            if len(made) >= 40:
                break
    assert len((await cluster.api.list(core_v1.Pod, "default")).items) == len(made) == 40


async def test_the_work_goes_on_when_the_server_comes_back(cluster: Cluster) -> None:
    await cluster.deploy(2)
    await until(cluster.api, core_v1.Pod, lambda pods: len(pods) == 2)
    cluster.client.down = True
    await cluster.api.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 6}}, namespace="default")
    await asyncio.sleep(200)
    assert len((await cluster.api.list(core_v1.Pod, "default")).items) == 2
    cluster.client.down = False
    begun = CLOCK.monotonic()
    await until(cluster.api, core_v1.Pod, lambda pods: len(pods) == 6)
    assert CLOCK.monotonic() - begun < 30, "the backoff is bounded"


async def test_work_that_failed_for_long_goes_on_soon_after_the_server_can_write_again(cluster: Cluster) -> None:
    cluster.client.read_only = True
    await cluster.deploy(3)
    await asyncio.sleep(1800)
    assert (await cluster.api.list(apps_v1.ReplicaSet, "default")).items == []
    cluster.client.read_only = False
    begun = CLOCK.monotonic()
    await until(cluster.api, core_v1.Pod, lambda pods: len(pods) == 3)
    assert CLOCK.monotonic() - begun < 25


def job(name: str, **spec: Any) -> batch_v1.Job:
    pods = make_template({"job": name})
    notes = {"test/ends": "5"}
    pods = replace(
        pods, metadata=replace(pods.metadata, annotations=notes), spec=replace(pods.spec, restart_policy="Never")
    )
    meta = meta_v1.ObjectMeta(name=name, namespace="default")
    return batch_v1.Job(metadata=meta, spec=batch_v1.JobSpec(template=pods, **spec))


def stateful(name: str) -> apps_v1.StatefulSet:
    labels = {"set": name}
    return apps_v1.StatefulSet(
        metadata=meta_v1.ObjectMeta(name=name, namespace="default"),
        spec=apps_v1.StatefulSetSpec(
            replicas=3, selector=meta_v1.LabelSelector(match_labels=labels), template=make_template(labels)
        ),
    )


def daemons(name: str) -> apps_v1.DaemonSet:
    labels = {"set": name}
    selector = meta_v1.LabelSelector(match_labels=labels)
    return apps_v1.DaemonSet(
        metadata=meta_v1.ObjectMeta(name=name, namespace="default"),
        spec=apps_v1.DaemonSetSpec(selector=selector, template=make_template(labels)),
    )


async def test_every_run_is_counted_once_and_no_workload_has_a_pod_too_many(cluster: Cluster) -> None:
    cluster.client.lost, cluster.client.lag = 0.2, 2.0
    revision = (await cluster.api.list(core_v1.Pod, "default")).resource_version
    async with asyncio.TaskGroup() as tasks:
        kubelet = FakeKubelet(cluster.api, CLOCK, tasks)
        await kubelet.start("a", "b")
        await cluster.api.create(job("plain", completions=8, parallelism=3))
        await cluster.api.create(job("indexed", completions=8, parallelism=3, completion_mode="Indexed"))
        await cluster.api.create(stateful("s"))
        await cluster.api.create(daemons("d"))

        def done(jobs: list[batch_v1.Job]) -> bool:
            return all(any(c.type == "Complete" for c in j.status.conditions) for j in jobs)

        jobs = await until(cluster.api, batch_v1.Job, done, seconds=3600)
        await until(cluster.api, apps_v1.StatefulSet, lambda s: s[0].status.ready_replicas == 3, seconds=3600)
        await until(cluster.api, apps_v1.DaemonSet, lambda d: d[0].status.number_ready == 2, seconds=3600)
        await asyncio.sleep(120)
        kubelet.stop()
    assert {(j.metadata.name, j.status.succeeded, j.status.failed) for j in jobs} == {
        ("plain", 8, 0),
        ("indexed", 8, 0),
    }
    made: Counter[str] = Counter()
    seen: set[str] = set()
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            async for batch in cluster.api.watch(core_v1.Pod, "default", resource_version=revision):
                for event in batch:
                    if event.type == "ADDED" and event.object.metadata.uid not in seen:
                        seen.add(event.object.metadata.uid)
                        made[event.object.metadata.name.split("-")[0]] += 1
    assert made == {"plain": 8, "indexed": 8, "s": 3, "d": 2}
