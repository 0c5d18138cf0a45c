"""`kubectl attach` and `kubectl run -i`: the streams of the container's own process."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.component.streams.test_exec_kubectl import terminal
from tests.support.docker_cluster import IMAGE, DockerCluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

HERE = '--overrides={"apiVersion":"v1","spec":{"nodeName":"n1"}}'
"""There is no scheduler."""


async def gone(cluster: DockerCluster, name: str, kubectl: Path) -> None:
    await cluster.kubectl(kubectl, "delete", "pod", name, "--ignore-not-found", "--wait=true")


async def test_output_from_now_on_until_the_container_ends(cluster: DockerCluster, kubectl: Path) -> None:
    name = "speaker"
    await gone(cluster, name, kubectl)
    await cluster.run(
        name, shell("until [ -e /go ]; do sleep 0.05; done; echo last words; exit 4"), restart_policy="Never"
    )
    process = await cluster.start(kubectl, "attach", name)
    await asyncio.sleep(0.5)  # nothing tells from outside when it is attached
    await cluster.kubectl(kubectl, "exec", name, "--", "touch", "/go")
    assert process.stdout is not None
    assert b"last words" in await process.stdout.read()
    assert await process.wait() == 0
    await gone(cluster, name, kubectl)


async def test_run_feeds_stdin_and_returns_the_output(cluster: DockerCluster, kubectl: Path) -> None:
    """The container's stdin ends with the client's: else cat would not."""
    name = "fed"
    await gone(cluster, name, kubectl)
    words = ["run", name, f"--image={IMAGE}", "--restart=Never", HERE, "-i", "--rm", "--quiet", "--", "cat"]
    done = await cluster.kubectl(kubectl, *words, stdin=b"hello\n" * 1000)
    assert done.code == 0, done.complaint
    assert done.out.startswith(b"hello\n" * 1000)


async def test_run_with_a_terminal_is_a_shell(cluster: DockerCluster, kubectl: Path) -> None:
    name = "shell"
    await gone(cluster, name, kubectl)
    words = ["run", name, f"--image={IMAGE}", "--restart=Never", HERE, "-it", "--rm", "--", "sh"]
    with terminal(rows=24, columns=80) as (mine, theirs):
        process = await cluster.start(kubectl, *words, stdin=theirs, stdout=theirs)
        seen = b""
        while b"# " not in seen:
            os.write(mine, b"\n")
            seen += await asyncio.to_thread(os.read, mine, 4096)
        os.write(mine, b"echo $((6*7)); exit 5\n")
        while b"42" not in seen:
            seen += await asyncio.to_thread(os.read, mine, 4096)
        assert await process.wait() == 5


async def test_debug_runs_a_shell_beside_the_container(cluster: DockerCluster, kubectl: Path) -> None:
    """An ephemeral container's stdin stays open: the end of the client's must not cost the output."""
    name = "patient"
    await gone(cluster, name, kubectl)
    await cluster.run(name, shell("sleep 1000"))
    words = ["debug", name, "-i", "-q", f"--image={IMAGE}", "--", "sh", "-c", "read a; echo heard $a; sleep 0.2"]
    if "1.20" in (await cluster.kubectl(kubectl, "version", "--client")).text:
        pytest.skip("its debug is alpha, and asks an API that no longer exists")
    done = await cluster.kubectl(kubectl, *words, stdin=b"you\n")
    assert "heard you" in done.text, done.complaint
    await gone(cluster, name, kubectl)


async def test_attach_reaches_the_stdin_of_a_running_container(cluster: DockerCluster, kubectl: Path) -> None:
    name = "listener"
    await gone(cluster, name, kubectl)
    await cluster.run(name, shell("read a; echo heard $a; sleep 0.2", stdin=True), restart_policy="Never")
    done = await cluster.kubectl(kubectl, "attach", "-i", name, stdin=b"you\n")
    assert (done.code, done.text) == (0, "heard you\n"), done.complaint
    await gone(cluster, name, kubectl)
