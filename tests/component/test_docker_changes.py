"""Docker tells of an end before its own list shows it: whoever lists on such a hint must see the truth all the same."""

import asyncio
import uuid

import pytest

from node_agent.runtimes.docker import DockerRuntime
from node_agent.runtimes.docker_calls import API_VERSION, EngineCalls
from node_agent.runtimes.interface import ContainerSpec, SandboxSpec

pytestmark = pytest.mark.docker


async def test_what_ended_is_seen_as_ended_once_it_is_told() -> None:
    runtime, uid = DockerRuntime(node_name=f"changes-{uuid.uuid4().hex[:8]}"), uuid.uuid4().hex
    await runtime.prepare()
    ended = asyncio.Event()

    async def watch() -> None:
        async for hint in runtime.changes():
            if hint and any(c.name == "c" and c.state == "exited" for c in await runtime.list()):
                ended.set()

    try:
        sandbox = await runtime.run_sandbox(SandboxSpec(pod_uid=uid, name="p", namespace="d", hostname="p"))
        watching = asyncio.create_task(watch())
        command = ["sh", "-c", "sleep 0.3"]
        spec = ContainerSpec(pod_uid=uid, name="c", image="sampan/busybox:1", attempt=0, spec_hash="h", command=command)
        await runtime.start_container(spec, sandbox)
        async with asyncio.timeout(5):
            await ended.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    finally:
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()


async def test_our_own_starts_are_no_news_those_of_others_are() -> None:
    runtime, uid = DockerRuntime(node_name=f"changes-{uuid.uuid4().hex[:8]}"), uuid.uuid4().hex
    await runtime.prepare()
    hints: asyncio.Queue[str] = asyncio.Queue()

    async def watch() -> None:
        async for hint in runtime.changes():
            hints.put_nowait(hint)

    watching = asyncio.create_task(watch())
    engine = EngineCalls("unix:///var/run/docker.sock", version=API_VERSION)
    try:
        sandbox = await runtime.run_sandbox(SandboxSpec(pod_uid=uid, name="p", namespace="d", hostname="p"))
        command = ["sleep", "1000"]
        spec = ContainerSpec(pod_uid=uid, name="c", image="sampan/busybox:1", attempt=0, spec_hash="h", command=command)
        made = await runtime.start_container(spec, sandbox)
        await runtime.stop(made.id, grace=0.0)
        async with asyncio.timeout(5):
            assert await hints.get() == ""
            assert await hints.get() == uid  # its end, and nothing before
            assert hints.empty()
            await engine.ask("POST", f"/containers/{made.id}/start")
            assert await hints.get() == uid
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        for container in await runtime.list():
            await runtime.remove(container.id)
        await runtime.close()
        await engine.close()
