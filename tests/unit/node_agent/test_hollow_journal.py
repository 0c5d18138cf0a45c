"""Hollow containers outlive their agent: the next process finds them as they were, and the journal tells every start."""

from __future__ import annotations

import asyncio
from pathlib import Path

from kubeapi.clock import SystemClock
from node_agent.runtimes.hollow_journal import JournaledHollowRuntime, read
from node_agent.runtimes.interface import ContainerSpec, SandboxSpec


def runtime(path: Path) -> JournaledHollowRuntime:
    return JournaledHollowRuntime(path, clock=SystemClock(), prefix="hollow-a-b")


def spec(name: str, **env: str) -> ContainerSpec:
    return ContainerSpec(pod_uid="u", name=name, image="x", attempt=0, spec_hash="h", env=env)


async def test_the_next_process_finds_what_ran(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = runtime(path)
    await first.pull_image("x")
    sandbox = await first.run_sandbox(SandboxSpec(pod_uid="u", name="web", namespace="default", hostname="web"))
    runs = await first.start_container(spec("runs"), sandbox)
    ended = await first.start_container(spec("ended"), sandbox)
    removed = await first.start_container(spec("removed"), sandbox)
    mortal = await first.start_container(spec("mortal", HOLLOW_EXIT_AFTER="0.05"), sandbox)
    first.crash(ended.id, 3)
    await first.remove(removed.id)
    with path.open("ab") as file:
        file.write(b'{"contai')  # it was killed in the middle of a line

    second = runtime(path)
    assert await second.has_image("x")
    found = {c.id: c for c in await second.list()}
    assert found[sandbox.id] == sandbox and found[runs.id] == runs
    assert (found[ended.id].state, found[ended.id].exit_code) == ("exited", 3)
    assert removed.id not in found
    async with asyncio.timeout(5):
        async for _ in second.logs(mortal.id, follow=True):  # its end comes all the same
            pass
    assert {c.id: c.state for c in await second.list()}[mortal.id] == "exited"
    fresh = await second.start_container(spec("fresh"), sandbox)
    assert fresh.id not in found
    await second.close()
    starts = [line.container.name for line in read(path) if line.container and line.spec]
    assert starts == ["runs", "ended", "removed", "mortal", "fresh"]
    await first.close()
