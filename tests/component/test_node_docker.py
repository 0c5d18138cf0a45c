"""The agent on a real Docker engine: volumes, environment, probes, restart, termination, logs. No pod network."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from kubeapi.clock import SystemClock
from kubeapi.types.core_v1 import (
    ConfigMap,
    ConfigMapVolumeSource,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    EphemeralContainer,
    ExecAction,
    ObjectFieldSelector,
    Pod,
    Probe,
    Volume,
    VolumeMount,
)
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.agent import NodeAgent
from node_agent.dialing import NamespaceDialer
from node_agent.node_object import Machine
from node_agent.parts import HostlessNetwork
from node_agent.runtimes.docker import DockerRuntime
from node_agent.volume_files import empty_dir, own, release
from sampan.node import NodeConfig, build
from tests.unit.node_agent.memory_client import MemoryClient
from tests.unit.node_agent.pods import IMAGE, pod, wish

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]


@dataclass
class World:
    client: MemoryClient
    runtime: DockerRuntime
    agent: NodeAgent
    data: Path
    uid: str
    """Of the test's pod: several runs may share the engine."""

    def pod(self) -> Pod | None:
        return self.client.objects.get((Pod, "default", "web"))

    async def until(self, what: Callable[[], Any], *, within: float = 20.0) -> Any:
        async with asyncio.timeout(within):
            while not (found := what()):  # noqa: ASYNC110 - the cluster is polled, as a user would
                await asyncio.sleep(0.05)
        return found

    async def logs(self) -> bytes:
        mine = max((c for c in await self.runtime.list() if c.name == "c"), key=lambda c: c.attempt)
        return b"".join([data async for data in self.runtime.logs(mine.id)])


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    client = MemoryClient()
    runtime = DockerRuntime(node_name=f"component-{uuid.uuid4().hex[:8]}")
    await runtime.prepare()
    dialer = NamespaceDialer()
    agent = build(
        NodeConfig(name="n1", ip="127.0.0.1", data=tmp_path, pod_cidr="10.244.1.0/24"),
        client,
        runtime,
        machine=Machine(cpus=2, memory=4 << 30, disk=10 << 30),
        clock=SystemClock(),
        rng=Random(1),
        dialer=dialer,
        network=HostlessNetwork("10.244.1.0/24"),
        log=logging.getLogger("test"),
    )
    task = asyncio.create_task(agent.run())
    await agent.ready.wait()
    yield World(client, runtime, agent, tmp_path, uuid.uuid4().hex)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for container in await runtime.list():
        await runtime.remove(container.id)
    await runtime.close()
    dialer.close()
    await asyncio.to_thread(release, tmp_path)


def ready(world: World) -> bool:
    found = world.pod()
    return found is not None and any(c.type == "Ready" and c.status == "True" for c in found.status.conditions)


async def test_files_environment_and_names_reach_the_container(world: World) -> None:
    await world.client.create(
        ConfigMap(metadata=ObjectMeta(name="settings", namespace="default"), data={"colour": "red"})
    )
    script = 'cat /settings/colour; echo " $NAME $GREETING"; hostname; grep search /etc/resolv.conf; touch /scratch/x'
    thing = pod(
        wish(
            command=["/bin/sh", "-c", script],
            env=[
                EnvVar(name="NAME", value_from=EnvVarSource(field_ref=ObjectFieldSelector(field_path="metadata.name"))),
                EnvVar(name="GREETING", value="hello-$(NAME)"),
            ],
            volume_mounts=[
                VolumeMount(name="settings", mount_path="/settings"),
                VolumeMount(name="scratch", mount_path="/scratch"),
            ],
        ),
        volumes=[
            Volume(name="settings", config_map=ConfigMapVolumeSource(name="settings")),
            Volume(name="scratch", empty_dir=EmptyDirVolumeSource()),
        ],
        restart_policy="Never",
        uid=world.uid,
    )
    await world.client.create(thing)
    await world.until(lambda: (p := world.pod()) and p.status.phase == "Succeeded")
    lines = (await world.logs()).decode().splitlines()
    assert lines[0] == "red web hello-web"
    assert lines[1] == "web"
    assert lines[2].startswith("search default.svc.cluster.local svc.cluster.local cluster.local")
    assert (world.data / "pods" / world.uid / "volumes" / "scratch" / "x").exists()


async def test_an_exec_probe_makes_the_pod_ready_and_deletion_cleans_up(world: World) -> None:
    probe = Probe(exec=ExecAction(command=["test", "-e", "/tmp/ready"]), period_seconds=1)
    script = "touch /tmp/ready; trap 'exit 0' TERM; while :; do sleep 0.1; done"
    await world.client.create(pod(wish(command=["/bin/sh", "-c", script], readiness_probe=probe), uid=world.uid))
    await world.until(lambda: ready(world))
    found = world.pod()
    assert found is not None and world.agent.parts is not None
    registry, stages = world.agent.parts.metrics.registry, "sampan_pod_start_stage_duration_seconds_count"
    for stage in ("volumes", "sandbox", "network", "create", "start", "ready"):
        assert registry.get_sample_value(stages, {"stage": stage}) == 1, stage
    meta = replace(found.metadata, deletion_timestamp=SystemClock().now(), deletion_grace_period_seconds=30)
    await world.client.update(replace(found, metadata=meta))
    await world.until(lambda: world.pod() is None and not world.agent.workers)
    assert await world.runtime.list() == []
    assert not (world.data / "pods" / world.uid).exists()


async def test_a_crash_leaves_its_last_words_and_restarts(world: World) -> None:
    script = "echo out of luck > /dev/termination-log; exit 3"
    await world.client.create(pod(wish(command=["/bin/sh", "-c", script]), uid=world.uid))

    def last() -> Any:
        found = world.pod()
        statuses = found.status.container_statuses if found else []
        return statuses and statuses[0].restart_count >= 1 and statuses[0].last_state.terminated

    ended = await world.until(last)
    assert (ended.exit_code, ended.reason, ended.message) == (3, "Error", "out of luck\n")


async def test_a_missing_command_is_told(world: World) -> None:
    await world.client.create(pod(wish(command=["/no/such"]), uid=world.uid))

    def told() -> Any:
        found = world.pod()
        statuses = found.status.container_statuses if found else []
        return statuses and statuses[0].state.waiting and statuses[0].state.waiting.reason == "RunContainerError"

    await world.until(told)


async def test_a_lost_sandbox_begins_anew_with_the_init_containers(world: World) -> None:
    keep = [VolumeMount(name="v", mount_path="/v")]
    script = "echo once >> /v/inits"
    thing = pod(
        wish("c", command=["/bin/sh", "-c", "exec sleep 1000"], volume_mounts=keep),
        inits=[wish("init", command=["/bin/sh", "-c", script], volume_mounts=keep)],
        uid=world.uid,
        volumes=[Volume(name="v", empty_dir=EmptyDirVolumeSource(medium="Memory", size_limit="1Mi"))],
        termination_grace_period_seconds=1,
    )
    await world.client.create(thing)
    await world.until(lambda: ready(world))
    inits = world.data / "pods" / world.uid / "volumes" / "v" / "inits"
    assert await asyncio.to_thread(inits.read_text) == "once\n"
    (sandbox,) = [c for c in await world.runtime.list() if c.kind == "sandbox"]
    await world.runtime.remove(sandbox.id)
    await world.until(lambda: inits.read_text() == "once\nonce\n")

    def again() -> bool:
        found = world.pod()
        return found is not None and ready(world) and found.status.container_statuses[0].restart_count == 1

    await world.until(again)


async def test_a_configuration_changes_under_the_container_which_cannot_write_it(world: World) -> None:
    meta = ObjectMeta(name="conf", namespace="default")
    await world.client.create(ConfigMap(metadata=meta, data={"a": "1"}))
    script = "touch /conf/x 2>/dev/null || echo read-only; until grep -q 2 /conf/a; do usleep 50000; done; echo changed"
    thing = pod(
        wish("c", command=["/bin/sh", "-c", script], volume_mounts=[VolumeMount(name="v", mount_path="/conf")]),
        uid=world.uid,
        restart_policy="Never",
        volumes=[Volume(name="v", config_map=ConfigMapVolumeSource(name="conf"))],
    )
    await world.client.create(thing)
    await world.until(lambda: ready(world))
    old = world.client.objects[(ConfigMap, "default", "conf")]
    await world.client.update(replace(old, data={"a": "2"}))
    assert world.agent.parts is not None

    def over() -> bool:
        found = world.pod()
        return found is not None and found.status.phase == "Succeeded"

    async with asyncio.timeout(20):
        while not over():  # the agent itself looks once a minute
            await world.agent.parts.volumes.prepare(thing)
            await asyncio.sleep(0.1)
    assert await world.logs() == b"read-only\nchanged\n"


async def test_a_debugger_sees_the_processes_of_its_target(world: World) -> None:
    thing = pod(
        wish("c", command=["/bin/sh", "-c", "exec sleep 4321"]), uid=world.uid, termination_grace_period_seconds=1
    )
    await world.client.create(thing)
    await world.until(lambda: ready(world))
    found = world.pod()
    assert found is not None
    debugger = EphemeralContainer(
        name="look", image=IMAGE, command=["/bin/sh", "-c", "ps; exit 0"], target_container_name="c"
    )
    await world.client.update(replace(found, spec=replace(found.spec, ephemeral_containers=[debugger])))

    def over() -> bool:
        now = world.pod()
        return now is not None and any(s.state.terminated for s in now.status.ephemeral_container_statuses)

    await world.until(over)
    (container,) = [c for c in await world.runtime.list() if c.name == "look"]
    assert b"sleep 4321" in b"".join([data async for data in world.runtime.logs(container.id)])


@pytest.mark.timeout(90)
async def test_the_directory_of_a_pod_that_went_unseen_goes_too(world: World) -> None:
    ghost, other = world.data / "pods" / "ghost", world.data / "pods" / "of-another-node"
    making = world.data / "making"  # whole when it comes to where the agent looks
    await asyncio.to_thread(own, making, "127.0.0.1")
    await asyncio.to_thread(own, other, "127.0.0.2")
    await asyncio.to_thread(empty_dir, making / "volumes" / "v w", None, memory=True, limit=1 << 20)
    await asyncio.to_thread(making.rename, ghost)
    await world.until(lambda: not ghost.exists(), within=60)
    assert await asyncio.to_thread(other.exists)
