"""Docker tells of an end before its own list shows it: whoever lists on such a hint must see the truth all the same."""

import asyncio
import uuid

import pytest

from node_agent.runtimes.docker import DockerRuntime
from node_agent.runtimes.interface import ContainerSpec, SandboxSpec

pytestmark = pytest.mark.docker


async def test_what_ended_is_seen_as_ended_once_it_is_told() -> None:
    runtime, uid = DockerRuntime(node_name=f"changes-{uuid.uuid4().hex[:8]}"), uuid.uuid4().hex
    await runtime.prepare()
    ended = asyncio.Event()

    async def watch() -> None:
        async for _ in runtime.changes():
            if any(c.name == "c" and c.state == "exited" for c in await runtime.list()):
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
