"""`kubectl exec` of every age against real containers: bytes, ends, exit codes, and what users are told."""

import hashlib
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.docker_cluster import DockerCluster, box

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def web(cluster: DockerCluster) -> None:
    await cluster.run("web", box())


async def test_output_error_and_exit_code(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.text) == (3, "out\n")
    assert done.complaint.splitlines() == ["err", "command terminated with exit code 3"]


async def test_input_ends_and_so_does_the_command(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "-i", "web", "--", "wc", "-c", stdin=b"x" * 100_000)
    assert (done.code, done.text.strip()) == (0, "100000")


async def test_large_data_comes_back_as_it_went(cluster: DockerCluster, kubectl: Path) -> None:
    data = hashlib.shake_256(b"seed").digest(20 << 20)
    done = await cluster.kubectl(kubectl, "exec", "-i", "web", "--", "cat", stdin=data)
    assert done.code == 0, done.complaint
    assert hashlib.sha256(done.out).digest() == hashlib.sha256(data).digest()
