"""The agent with its workers on the hollow runtime, in virtual time."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from kubeapi.clock import LoopClock
from kubeapi.types.coordination_v1 import Lease
from kubeapi.types.core_v1 import (
    ConfigMap,
    ConfigMapKeySelector,
    EnvVar,
    EnvVarSource,
    Event,
    ExecAction,
    Lifecycle,
    LifecycleHandler,
    LocalObjectReference,
    Node,
    Pod,
    PodSecurityContext,
    Probe,
    Secret,
    SleepAction,
    Sysctl,
)
from kubeapi.types.discovery_v1 import EndpointSlice
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.agent import NodeAgent
from node_agent.dialing import PlainDialer
from node_agent.node_object import Machine
from node_agent.own_node import RUNTIME_PATIENCE
from node_agent.runtimes.errors import RuntimeUnavailable
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from node_agent.runtimes.interface import Container, ImageInfo, Login
from sampan.node import NodeConfig, build
from tests.unit.node_agent.memory_client import MemoryClient
from tests.unit.node_agent.pods import IMAGE, pod, wish

pytestmark = pytest.mark.looptime
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Leaving(HollowRuntime):
    """An engine that can be away: its containers run on, and nobody can be asked about them."""

    away = False

    def _answer(self) -> None:
        if self.away:
            raise RuntimeUnavailable("connection refused")

    async def list(self) -> Sequence[Container]:
        self._answer()
        return await super().list()

    async def images(self) -> Sequence[ImageInfo]:
        self._answer()
        return await super().images()

    async def changes(self) -> AsyncGenerator[str, None]:
        self._answer()
        async for uid in super().changes():
            self._answer()
            yield uid


@dataclass
class World:
    client: MemoryClient
    runtime: HollowRuntime
    agent: NodeAgent
    task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """In the test's own time: fixtures run in the real one."""
        self.task = asyncio.create_task(self.agent.run())
        await self.agent.ready.wait()

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, what: Callable[[], Any], *, within: float = 60.0) -> Any:
        async with asyncio.timeout(within):
            while not (found := what()):  # noqa: ASYNC110 - the cluster is polled, as a user would
                await asyncio.sleep(0.05)
        return found

    def pod(self, name: str = "web") -> Pod | None:
        return self.client.objects.get((Pod, "default", name))

    def waiting(self) -> str:
        found = self.pod()
        statuses = found.status.container_statuses if found else []
        return statuses[0].state.waiting.reason if statuses and statuses[0].state.waiting else ""

    def ready(self) -> bool:
        found = self.pod()
        return found is not None and any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)

    def reasons(self) -> set[str]:
        return {o.reason for o in self.client.objects.values() if isinstance(o, Event)}

    async def mark_deleted(self, grace: int) -> None:
        found = self.pod()
        assert found is not None
        meta = replace(
            found.metadata, deletion_timestamp=EPOCH + timedelta(seconds=grace), deletion_grace_period_seconds=grace
        )
        await self.client.update(replace(found, metadata=meta))


def started(client: MemoryClient, runtime: HollowRuntime) -> World:
    config = NodeConfig(name="n1", ip="192.0.2.1", data=Path("/nowhere"), pod_cidr="10.244.1.0/24")
    agent = build(
        config,
        client,
        runtime,
        machine=Machine(cpus=2, memory=4 << 30, disk=10 << 30),
        clock=LoopClock(EPOCH),
        rng=Random(1),
        dialer=PlainDialer(),
        log=logging.getLogger("test"),
    )
    return World(client, runtime, agent)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = started(MemoryClient(), HollowRuntime(clock=LoopClock(EPOCH)))
    yield world
    await world.end()


async def test_the_node_registers_and_renews_its_lease(world: World) -> None:
    await world.begin()
    node = await world.client.get(Node, "n1")
    assert node.metadata.labels["kubernetes.io/hostname"] == "n1"
    assert node.status.allocatable["cpu"] == "2"
    await world.until(
        lambda: any(
            c.type == "Ready" and c.status == "True" for c in world.client.objects[(Node, "", "n1")].status.conditions
        )
    )
    first = (await world.client.get(Lease, "n1", "kube-node-lease")).spec.renew_time
    await asyncio.sleep(25)
    assert (await world.client.get(Lease, "n1", "kube-node-lease")).spec.renew_time > first


async def test_a_pod_runs_and_is_ready(world: World) -> None:
    await world.begin()
    await world.client.create(pod())
    await world.until(world.ready)
    found = world.pod()
    assert found is not None
    assert (found.status.phase, found.status.pod_ip, found.status.host_ip) == ("Running", "10.244.1.2", "192.0.2.1")
    assert found.status.qos_class == "BestEffort"
    await world.until(lambda: {"Pulled", "Created", "Started"} <= world.reasons())


async def test_a_job_like_pod_succeeds(world: World) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(exit_after=3))
    await world.client.create(pod(restart_policy="Never"))
    await world.until(lambda: (p := world.pod()) and p.status.phase == "Succeeded")
    found = world.pod()
    assert found is not None
    ended = found.status.container_statuses[0].state.terminated
    assert ended is not None
    assert (ended.exit_code, ended.reason) == (0, "Completed")


async def test_a_crash_loop_backs_off(world: World, looptime: Any) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(exit_after=1, exit_code=3))
    await world.client.create(pod())
    await world.until(lambda: world.waiting() == "CrashLoopBackOff")
    await world.until(lambda: world.pod().status.container_statuses[0].restart_count >= 3, within=90)  # type: ignore[union-attr]
    assert looptime > 30
    last = world.pod().status.container_statuses[0].last_state.terminated  # type: ignore[union-attr]
    assert last is not None
    assert last.exit_code == 3


async def test_an_absent_image_backs_off_and_recovers(world: World) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(absent=True))
    await world.client.create(pod())
    await world.until(lambda: world.waiting() == "ErrImagePull")
    await world.until(lambda: world.waiting() == "ImagePullBackOff")
    world.runtime.script(IMAGE, Behaviour())
    await world.until(world.ready)


async def test_a_missing_config_map_holds_the_container_until_it_comes(world: World) -> None:
    await world.begin()
    source = EnvVarSource(config_map_key_ref=ConfigMapKeySelector(name="settings", key="colour"))
    await world.client.create(pod(wish(env=[EnvVar(name="COLOUR", value_from=source)])))
    await world.until(lambda: world.waiting() == "CreateContainerConfigError")
    await world.client.create(
        ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data={"colour": "red"})
    )
    await world.until(world.ready)


async def test_readiness_follows_its_probe(world: World, looptime: Any) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(ready_after=20))
    probe = Probe(exec=ExecAction(command=["true"]), period_seconds=5)
    await world.client.create(pod(wish(readiness_probe=probe)))
    await world.until(world.ready)
    assert 20 <= looptime < 30


async def test_a_failed_liveness_probe_restarts(world: World) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(live_for=10))
    probe = Probe(exec=ExecAction(command=["true"]), period_seconds=2, failure_threshold=2)
    await world.client.create(pod(wish(liveness_probe=probe)))
    await world.until(
        lambda: (p := world.pod()) and p.status.container_statuses and p.status.container_statuses[0].restart_count
    )
    await world.until(lambda: {"Unhealthy", "Killing"} <= world.reasons())


async def test_a_deaf_container_is_killed_when_grace_ends(world: World, looptime: Any) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(ignores_term=True))
    await world.client.create(pod())
    await world.until(world.ready)
    begun = float(looptime)
    await world.mark_deleted(30)
    await world.until(lambda: world.pod() is None)
    assert world.runtime.signals["c"] == ["TERM", "KILL"]
    assert 30 <= float(looptime) - begun < 31
    assert await world.runtime.list() == []


async def test_pre_stop_shares_the_grace(world: World, looptime: Any) -> None:
    await world.begin()
    hook = Lifecycle(pre_stop=LifecycleHandler(sleep=SleepAction(seconds=5)))
    await world.client.create(pod(wish(lifecycle=hook)))
    await world.until(world.ready)
    begun = float(looptime)
    await world.mark_deleted(30)
    await world.until(lambda: world.pod() is None)
    assert 5 <= float(looptime) - begun < 6


async def test_a_shorter_grace_hurries_a_termination(world: World, looptime: Any) -> None:
    await world.begin()
    world.runtime.script(IMAGE, Behaviour(ignores_term=True))
    await world.client.create(pod())
    await world.until(world.ready)
    begun = float(looptime)
    await world.mark_deleted(300)
    await asyncio.sleep(5)
    await world.mark_deleted(1)
    await world.until(lambda: world.pod() is None)
    assert float(looptime) - begun < 8


async def test_a_pod_deleted_by_force_is_still_cleaned_up(world: World) -> None:
    await world.begin()
    await world.client.create(pod())
    await world.until(world.ready)
    await world.client.delete(Pod, "web", "default")
    await world.until(lambda: not world.agent.workers)
    assert await world.runtime.list() == []


async def test_a_deadline_fails_the_pod(world: World) -> None:
    await world.begin()
    await world.client.create(pod(active_deadline_seconds=10))
    await world.until(lambda: (p := world.pod()) and p.status.phase == "Failed")
    found = world.pod()
    assert found is not None
    assert found.status.reason == "DeadlineExceeded"


async def test_a_restart_of_the_agent_harms_no_pod(world: World) -> None:
    await world.begin()
    await world.client.create(pod())
    await world.until(world.ready)
    before = {c.id for c in await world.runtime.list()}
    await world.end()
    again = started(world.client, world.runtime)
    try:
        await again.begin()
        await asyncio.sleep(30)
        assert {c.id for c in await again.runtime.list()} == before
        assert again.ready()
    finally:
        await again.end()


async def test_containers_of_a_pod_that_vanished_meanwhile_are_removed(world: World) -> None:
    await world.begin()
    await world.client.create(pod())
    await world.until(world.ready)
    await world.end()
    await world.client.delete(Pod, "web", "default")
    again = started(world.client, world.runtime)
    try:
        await again.begin()
        await asyncio.sleep(15)
        assert await again.runtime.list() == []
    finally:
        await again.end()


async def test_an_image_is_pulled_with_the_login_of_the_pods_secret(world: World) -> None:
    image = "registry.example.org/team/app:v1"
    world.runtime.script(image, Behaviour(login=Login("me", "pw")))
    await world.begin()
    thing = pod(replace(wish(), image=image), image_pull_secrets=[LocalObjectReference(name="key")])
    await world.client.create(thing)
    await world.until(lambda: world.waiting() == "ErrImagePull")
    await world.until(lambda: {"FailedToRetrieveImagePullSecret", "Failed"} <= world.reasons())
    auths = b'{"auths": {"registry.example.org": {"username": "me", "password": "pw"}}}'
    meta = ObjectMeta(name="key", namespace="default")
    kind = "kubernetes.io/dockerconfigjson"
    await world.client.create(Secret(metadata=meta, type=kind, data={".dockerconfigjson": auths}))
    await world.until(world.ready)


async def test_a_name_that_is_no_image_is_told_as_such(world: World) -> None:
    await world.begin()
    await world.client.create(pod(replace(wish(), image="Not An Image")))
    await world.until(lambda: world.waiting() == "InvalidImageName")


async def test_a_forbidden_sysctl_fails_the_pod(world: World) -> None:
    await world.begin()
    security = PodSecurityContext(sysctls=[Sysctl(name="kernel.msgmax", value="1")])
    await world.client.create(pod(security_context=security))

    def failed() -> bool:
        found = world.pod()
        return found is not None and (found.status.phase, found.status.reason) == ("Failed", "SysctlForbidden")

    await world.until(failed)


async def test_a_sandbox_that_cannot_be_had_is_an_event_and_the_pod_waits(world: World) -> None:
    await world.begin()
    await world.client.create(pod(runtime_class_name="gvisor"))
    await world.until(lambda: "FailedCreatePodSandBox" in world.reasons())
    await world.until(lambda: world.waiting() == "ContainerCreating", within=1)


async def test_a_container_that_waits_for_its_restart_is_an_event(world: World) -> None:
    world.runtime.script(IMAGE, Behaviour(exit_after=0.1, exit_code=1))
    await world.begin()
    await world.client.create(pod())
    await world.until(lambda: world.waiting() == "CrashLoopBackOff")
    await world.until(lambda: "BackOff" in world.reasons())


async def test_what_happens_is_counted_under_names_that_dashboards_know(world: World) -> None:
    def value(name: str, **labels: str) -> float:
        assert world.agent.parts is not None
        return world.agent.parts.metrics.registry.get_sample_value(name, labels) or 0.0

    world.runtime.script(IMAGE, Behaviour(exit_after=2.0, exit_code=1))
    await world.begin()
    await world.client.create(pod())
    await world.until(lambda: value("sampan_container_restarts_total", container_type="container") == 1)
    assert value("kubelet_started_containers_total", container_type="container") == 2
    assert value("kubelet_pod_start_duration_seconds_count") == 1
    assert value("kubelet_pod_start_sli_duration_seconds_count") == 1
    for stage in ("volumes", "sandbox", "network", "ready"):
        assert value("sampan_pod_start_stage_duration_seconds_count", stage=stage) == 1
    assert value("kubelet_pod_worker_duration_seconds_count", operation_type="sync") >= 2
    assert value("kubelet_runtime_operations_duration_seconds_count", operation_type="run_podsandbox") == 1
    await world.until(lambda: value("kubelet_running_pods") == 1)


async def test_the_way_from_a_change_to_its_rules_is_measured(world: World) -> None:
    await world.begin()
    clock = LoopClock(EPOCH)
    at = (clock.now() - timedelta(seconds=3)).isoformat().replace("+00:00", "Z")
    note = {"endpoints.kubernetes.io/last-change-trigger-time": at}
    await world.client.create(EndpointSlice(metadata=ObjectMeta(name="s", namespace="default", annotations=note)))
    assert world.agent.parts is not None
    registry, name = world.agent.parts.metrics.registry, "kubeproxy_network_programming_duration_seconds"
    await world.until(lambda: registry.get_sample_value(f"{name}_count") == 1)
    seconds = registry.get_sample_value(f"{name}_sum")
    assert seconds is not None and 3 <= seconds < 4


async def test_a_new_agent_does_not_take_a_ready_pod_out_of_service() -> None:
    client, runtime = MemoryClient(), HollowRuntime(clock=LoopClock(EPOCH))
    first = started(client, runtime)
    await first.begin()
    probe = Probe(exec=ExecAction(command=["true"]), initial_delay_seconds=20, period_seconds=5)
    await client.create(pod(wish(readiness_probe=probe, startup_probe=probe)))
    await first.until(first.ready, within=120)
    await first.end()
    seen: list[bool] = []
    second = started(client, runtime)
    await second.begin()
    try:
        for _ in range(60):
            await asyncio.sleep(0.5)
            seen.append(second.ready())
        assert all(seen)
        runtime.script(IMAGE, Behaviour(ready_after=None))
        await second.until(lambda: not second.ready())
    finally:
        await second.end()


class CountingRuntime(HollowRuntime):
    """Notes how often all containers are listed."""

    lists = 0

    async def list(self) -> Sequence[Container]:
        self.lists += 1
        return await super().list()


async def test_the_runtime_is_asked_only_when_something_may_have_changed_there() -> None:
    runtime = CountingRuntime(clock=LoopClock(EPOCH))
    world = started(MemoryClient(), runtime)
    await world.begin()
    await world.client.create(pod())
    await world.until(world.ready)
    await asyncio.sleep(11)  # a relist has passed
    before, found = runtime.lists, world.pod()
    assert found is not None
    await world.client.update(replace(found, metadata=replace(found.metadata, labels={"colour": "red"})))
    await asyncio.sleep(1)
    assert runtime.lists == before
    (container,) = [c for c in await HollowRuntime.list(runtime) if c.kind == "app"]
    await runtime.stop(container.id, grace=0)
    await asyncio.sleep(1)
    assert runtime.lists > before
    await world.end()


async def test_a_node_whose_runtime_stays_away_says_so_in_time_and_when_it_is_back() -> None:
    client, runtime = MemoryClient(), Leaving(clock=LoopClock(EPOCH))
    world = started(client, runtime)

    def says(status: str, message: str) -> bool:
        node = client.objects[(Node, "", "n1")]
        return any((c.type, c.status, c.message) == ("Ready", status, message) for c in node.status.conditions)

    await world.begin()
    begun = asyncio.get_running_loop().time()
    runtime.away = True
    runtime._tell("")  # what it was saying breaks off
    await world.until(lambda: says("False", "container runtime is down"))
    took = asyncio.get_running_loop().time() - begun
    assert RUNTIME_PATIENCE <= took < RUNTIME_PATIENCE + 1
    runtime.away = False
    await world.until(lambda: says("True", "kubelet is posting ready status"), within=5)
    await world.end()


async def test_a_runtime_that_hangs_with_its_stream_open_is_found_out() -> None:
    client, runtime = MemoryClient(), Leaving(clock=LoopClock(EPOCH))
    world = started(client, runtime)

    def is_ready() -> bool:
        node = client.objects[(Node, "", "n1")]
        return any((c.type, c.status) == ("Ready", "True") for c in node.status.conditions)

    await world.begin()
    runtime.away = True
    await world.until(lambda: not is_ready(), within=120)
    runtime.away = False
    await world.until(is_ready, within=120)
    await world.end()
