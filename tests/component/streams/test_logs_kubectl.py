"""`kubectl logs` of every age: which part, how long, of which attempt; and what users are told."""

import asyncio
import re
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from kubeapi.types.core_v1 import Pod
from tests.support.docker_cluster import DockerCluster, box, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def pods(cluster: DockerCluster) -> None:
    talker = await cluster.run(
        "talker", shell("for n in 1 2 3 4 5; do echo line $n; done; sleep 1.1; echo oops >&2; sleep 1000")
    )
    await cluster.run("pair", shell("echo from one; sleep 1000", "one"), shell("echo from two; sleep 1000", "two"))
    await cluster.run("crashing", shell("echo attempt; exit 1"), wait=False)
    await cluster.run("absent-image", replace(box(), image="sampan/none:1"), wait=False)
    async with asyncio.timeout(10):
        while b"oops" not in await written(cluster, talker):  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)
    await cluster.until(
        "crashing", lambda p: p.status.container_statuses and p.status.container_statuses[0].restart_count
    )
    await cluster.until("absent-image", lambda p: p.status.container_statuses)


async def written(cluster: DockerCluster, pod: Pod) -> bytes:
    mine = next(c for c in await cluster.runtime.list() if c.pod_uid == pod.metadata.uid and c.name == "c")
    return b"".join([part async for part in cluster.runtime.logs(mine.id)])


async def test_all_of_it(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "logs", "talker")
    assert sorted(done.text.splitlines()) == ["line 1", "line 2", "line 3", "line 4", "line 5", "oops"]


async def test_tail_and_limit(cluster: DockerCluster, kubectl: Path) -> None:
    assert len((await cluster.kubectl(kubectl, "logs", "talker", "--tail=2")).text.splitlines()) == 2
    assert (await cluster.kubectl(kubectl, "logs", "talker", "--limit-bytes=9")).text == "line 1\nli"
    assert (await cluster.kubectl(kubectl, "logs", "talker", "--tail=0")).text == ""


async def test_timestamps_and_since(cluster: DockerCluster, kubectl: Path) -> None:
    """kubectl tells times to the second: the last line came more than one after the others."""
    lines = (await cluster.kubectl(kubectl, "logs", "talker", "--timestamps")).text.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}Z (line|oops)", line) for line in lines)
    stamps = sorted(line.split(" ")[0] for line in lines)
    since = (await cluster.kubectl(kubectl, "logs", "talker", f"--since-time={stamps[-1]}")).text.splitlines()
    assert since == ["oops"]
    assert len((await cluster.kubectl(kubectl, "logs", "talker", "--since=1h")).text.splitlines()) == 6
    done = await cluster.kubectl(kubectl, "logs", "talker", "--since-time=2099-01-01T00:00:00Z")
    assert (done.code, done.text) == (0, "")


async def test_a_followed_log_ends_with_its_container(cluster: DockerCluster, kubectl: Path) -> None:
    name = "short"
    await cluster.kubectl(kubectl, "delete", "pod", name, "--ignore-not-found")
    await cluster.run(name, shell("until [ -e /go ]; do sleep 0.05; done; echo bye"), restart_policy="Never")
    process = await cluster.start(kubectl, "logs", "-f", name)
    await cluster.kubectl(kubectl, "exec", name, "--", "touch", "/go")
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"bye\n")


async def test_the_attempt_before(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "logs", "crashing", "--previous")
    assert (done.code, done.text) == (0, "attempt\n"), done.complaint
    done = await cluster.kubectl(kubectl, "logs", "talker", "--previous")
    assert done.code == 1
    assert 'previous terminated container "c" in pod "talker" not found' in done.complaint


async def test_all_containers(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "logs", "pair", "--all-containers", "--prefix")
    assert sorted(done.text.splitlines()) == ["[pod/pair/one] from one", "[pod/pair/two] from two"]


async def test_a_missing_container_is_told_with_the_choice(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "logs", "pair", "-c", "three")
    assert done.code == 1
    assert "container three is not valid for pod pair" in done.complaint


async def test_a_container_that_never_ran_says_why(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "logs", "absent-image")
    assert done.code == 1
    assert 'container "c" in pod "absent-image" is waiting to start' in done.complaint


async def test_a_followed_log_survives_rotation(cluster: DockerCluster, kubectl: Path) -> None:
    """Docker keeps three files of ten megabytes: this fills them all while it is read, and rotates twice."""
    name = "chatty"
    await cluster.kubectl(kubectl, "delete", "pod", name, "--ignore-not-found")
    script = "until [ -e /go ]; do sleep 0.05; done; yes 0123456789012345678901234567890123456789012345678 | head -n 250000; echo end"
    await cluster.run(name, shell(script), restart_policy="Never")
    process = await cluster.start(kubectl, "logs", "-f", name)
    await cluster.kubectl(kubectl, "exec", name, "--", "touch", "/go")
    out, err = await process.communicate()
    assert process.returncode == 0, err
    assert out.endswith(b"end\n")
    assert out.count(b"\n") == 250_001
