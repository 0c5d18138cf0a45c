"""What every container runtime must do, whatever runs the containers. Hollow and Docker pass the same suite."""

import asyncio
import os
import subprocess
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

import pytest

from kubeapi.clock import SystemClock
from node_agent.runtimes.docker import DockerRuntime
from node_agent.runtimes.errors import ContainerNotFound, CreateFailed, ImageNotFound
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from node_agent.runtimes.interface import Container, ContainerSpec, ExecStream, Login, Runtime, SandboxSpec

IMAGE = "sampan/busybox:1"


@dataclass
class World:
    """A runtime, and how to say in its terms what a test's container does."""

    runtime: Runtime
    uid: str

    def sandbox(self) -> SandboxSpec:
        return SandboxSpec(pod_uid=self.uid, name="web", namespace="default", hostname="web")

    def spec(self, name: str = "c", script: str = "sleep 1000", **fields: object) -> ContainerSpec:
        spec = ContainerSpec(
            pod_uid=self.uid,
            name=name,
            image=IMAGE,
            attempt=0,
            spec_hash="h1",
            command=("/bin/sh", "-c", script),
        )
        return replace(spec, **fields)  # type: ignore[arg-type]


@pytest.fixture(params=["hollow", pytest.param("docker", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    runtime: HollowRuntime | DockerRuntime
    if request.param == "hollow":
        runtime = HollowRuntime(clock=SystemClock())
        await runtime.pull_image(IMAGE)
    else:
        runtime = DockerRuntime(node_name=f"contract-{uuid.uuid4().hex[:8]}")
        await runtime.prepare()
    yield World(runtime, uuid.uuid4().hex)
    for container in await runtime.list():
        await runtime.remove(container.id)
    await runtime.close()


async def running(world: World, **fields: object) -> tuple[Container, Container]:
    sandbox = await world.runtime.run_sandbox(world.sandbox())
    return sandbox, await world.runtime.start_container(world.spec(**fields), sandbox)  # type: ignore[arg-type]


async def heedful(world: World, script: str, behaviour: Behaviour | None = None) -> Container:
    """A container whose shell has begun: before that a signal finds none, or what the engine starts containers with."""
    scripted(world, replace(behaviour or Behaviour(), output=b"begun\n"))
    trap, _, rest = script.partition("; ")
    _, container = await running(world, script=f"{trap}; echo begun; {rest}")
    async with asyncio.timeout(10), aclosing(world.runtime.logs(container.id, follow=True)) as said:
        async for part in said:
            if b"begun" in part:
                return container
    raise AssertionError("it ended before it had begun")


def scripted(world: World, behaviour: Behaviour) -> None:
    """Tells a hollow runtime what a real one reads from the command."""
    if isinstance(world.runtime, HollowRuntime):
        world.runtime.script(IMAGE, behaviour)


async def state_of(world: World, container_id: str) -> Container:
    return next(c for c in await world.runtime.list() if c.id == container_id)


async def ended(world: World, container_id: str) -> Container:
    async with asyncio.timeout(10):
        while (found := await state_of(world, container_id)).state != "exited":  # noqa: ASYNC110 - also a runtime without events must do
            await asyncio.sleep(0.05)
    return found


async def everything(stream: ExecStream) -> bytes:
    return b"".join([data async for _, data in stream.output()])


async def test_what_runs_is_listed_with_its_pod_and_attempt(world: World) -> None:
    sandbox, container = await running(world, attempt=3, backoff_step=2)
    found = {c.id: c for c in await world.runtime.list()}
    assert set(found) == {sandbox.id, container.id}
    assert (found[sandbox.id].kind, found[sandbox.id].state, found[sandbox.id].name) == (
        "sandbox",
        "running",
        "",
    )
    assert found[sandbox.id].pid > 0
    mine = found[container.id]
    assert (mine.pod_uid, mine.name, mine.attempt, mine.spec_hash, mine.kind) == (
        world.uid,
        "c",
        3,
        "h1",
        "app",
    )
    assert (mine.pod_name, mine.pod_namespace, mine.backoff_step) == ("web", "default", 2)
    assert mine.started is not None


async def test_an_exit_code_is_kept(world: World) -> None:
    scripted(world, Behaviour(exit_after=0.0, exit_code=7))
    _, container = await running(world, script="exit 7")
    found = await ended(world, container.id)
    assert found.exit_code == 7
    assert found.finished is not None


async def test_stop_ends_a_willing_process_at_once(world: World) -> None:
    container = await heedful(world, "trap 'exit 0' TERM; while :; do sleep 0.1; done")
    async with asyncio.timeout(5):
        await world.runtime.stop(container.id, grace=30)
    assert (await state_of(world, container.id)).exit_code == 0


async def test_stop_kills_the_deaf_when_grace_ends(world: World) -> None:
    container = await heedful(world, "trap '' TERM; while :; do sleep 1; done", Behaviour(ignores_term=True))
    await world.runtime.stop(container.id, grace=0.2)
    found = await state_of(world, container.id)
    assert (found.state, found.exit_code) == ("exited", 137)


async def test_stop_and_remove_of_what_is_gone_are_fine(world: World) -> None:
    sandbox, container = await running(world)
    await world.runtime.remove(container.id)
    await world.runtime.remove(container.id)
    await world.runtime.stop(container.id, grace=1)
    await world.runtime.stop(sandbox.id, grace=2)
    await world.runtime.stop(sandbox.id, grace=2)
    assert [c.id for c in await world.runtime.list()] == [sandbox.id]


async def test_an_unknown_image_is_refused(world: World) -> None:
    sandbox = await world.runtime.run_sandbox(world.sandbox())
    assert not await world.runtime.has_image("sampan/no-such:9")
    with pytest.raises(ImageNotFound):
        await world.runtime.start_container(world.spec(image="sampan/no-such:9"), sandbox)


async def test_images_lists_what_is_here(world: World) -> None:
    assert await world.runtime.has_image(IMAGE)
    assert any(IMAGE in image.names for image in await world.runtime.images())


async def test_logs_give_the_output_and_its_tail(world: World) -> None:
    scripted(world, Behaviour(exit_after=0.0, output=b"one\ntwo\nthree\n"))
    _, container = await running(world, script="echo one; echo two; echo three")
    await ended(world, container.id)

    async def read(**options: object) -> bytes:
        return b"".join([d async for d in world.runtime.logs(container.id, **options)])  # type: ignore[arg-type]

    assert await read() == b"one\ntwo\nthree\n"
    assert await read(tail=1) == b"three\n"
    assert await read(tail=0) == b""
    assert (await read(timestamps=True)).splitlines()[0].endswith(b"Z one")
    async with asyncio.timeout(5):
        assert await read(follow=True) == b"one\ntwo\nthree\n"


async def test_logs_of_the_absent_are_an_error(world: World) -> None:
    with pytest.raises(ContainerNotFound):
        async for _ in world.runtime.logs("0123456789abcdef"):
            pass


async def test_following_logs_ends_with_the_container(world: World) -> None:
    container = await heedful(world, "trap 'exit 0' TERM; while :; do sleep 0.1; done")

    async def follow() -> Sequence[bytes]:
        return [data async for data in world.runtime.logs(container.id, follow=True)]

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        tasks.create_task(follow())
        await asyncio.sleep(0)
        await world.runtime.stop(container.id, grace=5)


async def test_exec_tells_output_and_code(world: World) -> None:
    command = ("/bin/sh", "-c", "echo hi; exit 4")
    scripted(world, Behaviour(exec_replies={command: (4, b"hi\n")}))
    _, container = await running(world)
    stream = await world.runtime.exec(container.id, command)
    assert await everything(stream) == b"hi\n"
    assert await stream.exit_code() == 4
    await stream.close()


async def test_exec_stdin_can_be_closed_while_output_goes_on(world: World) -> None:
    _, container = await running(world)
    stream = await world.runtime.exec(container.id, ("/bin/cat",), stdin=True)
    await stream.write(b"to and fro")
    await stream.close_stdin()
    async with asyncio.timeout(5):
        assert await everything(stream) == b"to and fro"
        assert await stream.exit_code() == 0
    await stream.close()


async def test_exec_in_an_ended_container_is_an_error(world: World) -> None:
    scripted(world, Behaviour(exit_after=0.0))
    _, container = await running(world, script="true")
    await ended(world, container.id)
    with pytest.raises(ContainerNotFound):
        await world.runtime.exec(container.id, ("/bin/true",))


async def test_changes_name_the_pod(world: World) -> None:
    sandbox, _ = await running(world)
    async with asyncio.timeout(15), aclosing(world.runtime.changes()) as changes:
        assert await anext(changes) == ""  # now it hears
        again = await world.runtime.start_container(world.spec(name="again", attempt=1), sandbox)
        await world.runtime.stop(again.id, grace=0.0)
        assert await anext(changes) == world.uid


async def test_usage_covers_what_runs(world: World) -> None:
    _, container = await running(world)
    usage = await world.runtime.usage()
    cpu, memory = usage[container.id]
    assert cpu >= 0
    assert memory > 0


@pytest.mark.docker
async def test_agents_that_share_an_engine_see_only_their_own() -> None:
    one, two = (DockerRuntime(node_name=f"share-{n}-{uuid.uuid4().hex[:6]}") for n in "ab")
    await one.prepare()
    spec = SandboxSpec(pod_uid=uuid.uuid4().hex, name="p", namespace="default", hostname="p")
    sandbox = await one.run_sandbox(spec)
    try:
        assert await two.list() == []
        assert [c.id for c in await one.list()] == [sandbox.id]
    finally:
        await one.remove(sandbox.id)
        await one.close()
        await two.close()


@pytest.mark.docker
async def test_a_missing_command_is_shown_as_an_exit() -> None:
    runtime = DockerRuntime(node_name=f"bad-{uuid.uuid4().hex[:6]}")
    await runtime.prepare()
    world = World(runtime, uuid.uuid4().hex)
    sandbox = await runtime.run_sandbox(world.sandbox())
    try:
        with pytest.raises(CreateFailed):
            await runtime.start_container(world.spec(command=("/no/such",)), sandbox)
        found = next(c for c in await runtime.list() if c.name == "c")
        assert found.state == "exited"
        assert "no such file" in found.message
    finally:
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()


@pytest.mark.docker
async def test_docker_does_what_a_security_context_says() -> None:
    runtime = DockerRuntime(node_name=f"contract-{uuid.uuid4().hex[:8]}")
    await runtime.prepare()
    world = World(runtime, uuid.uuid4().hex)
    script = "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status; grep -c ' /proc/sys ' /proc/mounts; id -u; id -G"
    try:
        sandbox = await runtime.run_sandbox(world.sandbox())

        async def says(name: str, **fields: object) -> list[str]:
            made = await runtime.start_container(world.spec(name, script, **fields), sandbox)
            await ended(world, made.id)
            return b"".join([part async for part in runtime.logs(made.id)]).decode().split()

        strict = await says("strict", no_new_privileges=True, user="1000:1001", groups=[2000])
        assert strict == ["NoNewPrivs:", "1", "Seccomp:", "2", "1", "1000", "1001", "2000"]
        free = await says("free", seccomp="unconfined", unmasked_proc=True)
        assert free[:5] == ["NoNewPrivs:", "0", "Seccomp:", "0", "0"]
        assert await runtime.image_user(IMAGE) == ""
    finally:
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()


async def test_an_image_nobody_has_is_not_found_whoever_asks(world: World) -> None:
    image = "localhost:1/nothing:here"
    if isinstance(world.runtime, HollowRuntime):
        world.runtime.script(image, Behaviour(absent=True))
    with pytest.raises(ImageNotFound):
        await world.runtime.pull_image(image, logins=[Login("me", "pw"), Login("you", "pw")])


@pytest.mark.docker
@pytest.mark.netns
async def test_the_host_network_is_the_nodes_own_also_when_that_is_a_namespace() -> None:
    name = f"sampant-host-{uuid.uuid4().hex[:6]}"
    await asyncio.to_thread(subprocess.run, ["ip", "netns", "add", name], check=True)
    runtime = DockerRuntime(node_name=f"contract-{name}", namespace=f"/run/netns/{name}")
    await runtime.prepare()
    world = World(runtime, uuid.uuid4().hex)
    try:
        sandbox = await runtime.run_sandbox(replace(world.sandbox(), host_network=True, hostname="n1"))
        script = "readlink /proc/self/ns/net; hostname; exec sleep 100"
        made = await runtime.start_container(world.spec(script=script), sandbox)
        inode = (await asyncio.to_thread(os.stat, f"/run/netns/{name}")).st_ino
        async with asyncio.timeout(5):
            said = b""
            async for part in runtime.logs(made.id, follow=True):
                said += part
                if said.count(b"\n") == 2:
                    break
        assert said.decode().split() == [f"net:[{inode}]", "n1"]
    finally:
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()
        await asyncio.to_thread(subprocess.run, ["ip", "netns", "del", name], check=True)
