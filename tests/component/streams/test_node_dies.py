"""What a user of a stream is told when the node behind it goes, or was never reachable."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.docker_cluster import DockerCluster, docker_cluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.timeout(60)]


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[DockerCluster]:
    async with docker_cluster(tmp_path) as cluster:
        await cluster.run("web", shell("echo begun; sleep 1000"))
        yield cluster


async def test_streams_break_and_new_ones_are_refused(mortal: DockerCluster, kubectl: Path) -> None:
    running = await mortal.start(kubectl, "exec", "web", "--", "sh", "-c", "echo begun; sleep 1000")
    following = await mortal.start(kubectl, "logs", "-f", "web")
    assert running.stdout is not None and await running.stdout.readline() == b"begun\n"
    assert following.stdout is not None and await following.stdout.readline() == b"begun\n"
    await mortal.stop_node()
    (_, told), (log, _) = await asyncio.gather(running.communicate(), following.communicate())
    assert running.returncode == 1
    assert b"the agent of node n1 cannot be reached" in told
    assert log.startswith(b"error: the node's agent cannot be reached")
    refused = await mortal.kubectl(kubectl, "exec", "web", "--", "true")
    assert refused.code == 1
    assert "the agent of node n1 cannot be reached" in refused.complaint
