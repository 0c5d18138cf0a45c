"""`kubectl exec` of every age against real containers: bytes, ends, exit codes, and what users are told."""

import asyncio
import fcntl
import hashlib
import os
import signal
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.docker_cluster import DockerCluster, box, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def web(cluster: DockerCluster) -> None:
    await cluster.run("web", box())
    await cluster.run("pair", box("one"), box("two"))
    await cluster.run("crashing", shell("exit 1"), wait=False)
    await cluster.until(
        "crashing", lambda p: p.status.container_statuses and p.status.container_statuses[0].state.waiting
    )


@contextmanager
def terminal(*, rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """The two ends of a new terminal: the user's, and the one that a program gets."""
    mine, theirs = os.openpty()
    try:
        resize(mine, rows=rows, columns=columns)
        yield mine, theirs
    finally:
        os.close(mine)
        os.close(theirs)


def resize(descriptor: int, *, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def shown(descriptor: int, text: bytes) -> None:
    """Waits until the text has been shown: a terminal passes on what is written to it piece by piece, and when it likes."""
    seen = b""
    while text not in seen:
        seen += await asyncio.to_thread(os.read, descriptor, 65536)


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


async def test_a_terminal_has_the_size_of_the_users(cluster: DockerCluster, kubectl: Path) -> None:
    script = 'until [ "$(stty size)" = "41 101" ]; do sleep 0.05; done; echo sized; tty'
    with terminal(rows=41, columns=101) as (mine, theirs):
        process = await cluster.start(
            kubectl, "exec", "-it", "web", "--", "sh", "-c", script, stdin=theirs, stdout=theirs
        )
        await shown(mine, b"sized\r\n/dev/pts/0\r\n")
        assert await process.wait() == 0


async def test_a_terminals_new_size_reaches_the_command(cluster: DockerCluster, kubectl: Path) -> None:
    script = 'echo there; until [ "$(stty size)" = "7 77" ]; do sleep 0.05; done'
    with terminal(rows=41, columns=101) as (mine, theirs):
        process = await cluster.start(
            kubectl, "exec", "-it", "web", "--", "sh", "-c", script, stdin=theirs, stdout=theirs
        )
        await shown(mine, b"there")
        resize(mine, rows=7, columns=77)
        process.send_signal(signal.SIGWINCH)
        assert await process.wait() == 0


@pytest.mark.parametrize("flood", [False, True], ids=["output", "stuck-input"])
async def test_a_client_that_vanishes_takes_its_command_along(
    cluster: DockerCluster, kubectl: Path, flood: bool
) -> None:
    """Also when the command reads nothing, and the way to it is full: then nobody reads from the client either."""
    script = "trap 'touch /tmp/hung-up; exit' HUP; echo begun; while :; do sleep 0.05; done"
    await cluster.kubectl(kubectl, "exec", "web", "--", "rm", "-f", "/tmp/hung-up")
    words = ["exec", *(["-i"] if flood else []), "web", "--", "sh", "-c", script]
    source = os.open("/dev/zero" if flood else "/dev/null", os.O_RDONLY)
    try:
        process = await cluster.start(kubectl, *words, stdin=source)
    finally:
        os.close(source)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"begun\n"
    if flood:
        await nothing_more_is_read_by(process.pid)
    process.kill()
    await process.wait()
    wait = "until [ -e /tmp/hung-up ]; do sleep 0.05; done"
    assert (await cluster.kubectl(kubectl, "exec", "web", "--", "sh", "-c", wait)).code == 0


async def nothing_more_is_read_by(pid: int) -> None:
    def read() -> str:
        return Path(f"/proc/{pid}/io").read_text().splitlines()[0]

    before, now = "", read()
    while before != now:
        await asyncio.sleep(0.3)
        before, now = now, read()


async def test_a_missing_command_is_told(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "web", "--", "no-such-command")
    assert (done.code, done.text) == (127, "") or (done.code, done.text) == (126, "")
    assert "no-such-command" in done.complaint and "not found" in done.complaint


async def test_a_missing_container_is_told_with_the_choice(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "web", "-c", "db", "--", "true")
    assert done.code == 1
    assert "container db is not valid for pod web" in done.complaint or "container not found" in done.complaint


async def test_two_containers_and_none_named(cluster: DockerCluster, kubectl: Path) -> None:
    """kubectl picks the first, and says so; the API names the choice, as `logs` shows."""
    done = await cluster.kubectl(kubectl, "logs", "pair")
    if done.code:
        assert "choose one of: [one two]" in done.complaint
    assert (await cluster.kubectl(kubectl, "exec", "pair", "-c", "two", "--", "hostname")).text == "pair\n"


async def test_a_container_that_waits_says_why(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "crashing", "--", "true")
    assert done.code == 1
    assert 'container "c" in pod "crashing" is not running' in done.complaint


async def test_no_such_pod(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "exec", "nobody", "--", "true")
    assert done.code == 1
    assert 'pods "nobody" not found' in done.complaint


async def test_files_are_copied_both_ways(cluster: DockerCluster, kubectl: Path, tmp_path: Path) -> None:
    data = hashlib.shake_256(b"file").digest(3 << 20)
    (tmp_path / "there").write_bytes(data)
    done = await cluster.kubectl(kubectl, "cp", str(tmp_path / "there"), "web:/tmp/copied")
    assert done.code == 0, done.complaint
    done = await cluster.kubectl(kubectl, "cp", "web:/tmp/copied", str(tmp_path / "back"))
    assert done.code == 0, done.complaint
    assert (tmp_path / "back").read_bytes() == data
