"""`kubectl port-forward` of every age: parallel connections, half-close, large data, refused ports, and nodes that die."""

import asyncio
import hashlib
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from kubeapi.types.core_v1 import ExecAction, Probe
from node_agent.dialing import inside
from tests.support.docker_cluster import DockerCluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

SERVERS = """
mkdir /www; echo hello > /www/index.html
nc -ll -p 9001 -e wc -c &
httpd -p 8080 -h /www
sleep 1000
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def web(cluster: DockerCluster) -> AsyncIterator[None]:
    listens = Probe(exec=ExecAction(command=["wget", "-qO-", "http://127.0.0.1:8080/"]), period_seconds=1)
    pod = await cluster.run("web", shell(SERVERS, readiness_probe=listens))
    mine = [c for c in await cluster.runtime.list() if c.pod_uid == pod.metadata.uid]
    sandbox = next(c for c in mine if c.kind == "sandbox")
    server = await asyncio.start_server(echo, sock=await asyncio.to_thread(inside, sandbox.pid, listener))
    yield
    server.close()


def listener() -> socket.socket:
    """nc takes one connection at a time: what is asked of many at once listens in the pod's network from here."""
    sock = socket.create_server(("127.0.0.1", 9000), backlog=128)
    sock.setblocking(False)
    return sock


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return
    finally:
        writer.close()


@asynccontextmanager
async def forwarded(
    cluster: DockerCluster, kubectl: Path, port: int
) -> AsyncIterator[tuple[int, asyncio.subprocess.Process]]:
    process = await cluster.start(kubectl, "port-forward", "pod/web", f":{port}")
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        found = re.search(rb"127\.0\.0\.1:(\d+) ->", line)
        assert found, line
        yield int(found[1]), process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def ask(port: int, data: bytes) -> bytes:
    """Sends, half-closes, and reads to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        writer.write(data)
        await writer.drain()
        writer.write_eof()

    try:
        _, answer = await asyncio.gather(send(), reader.read())
        return answer
    finally:
        writer.close()
        await writer.wait_closed()


async def test_a_request_and_its_answer(cluster: DockerCluster, kubectl: Path) -> None:
    async with forwarded(cluster, kubectl, 8080) as (port, _):
        answer = await ask(port, b"GET /index.html HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.") and answer.endswith(b"hello\n")


async def test_the_clients_half_close_reaches_the_pod(cluster: DockerCluster, kubectl: Path) -> None:
    """wc says how much it has read only at the end of it."""
    async with forwarded(cluster, kubectl, 9001) as (port, _):
        assert (await ask(port, b"x" * 12345)).strip() == b"12345"


async def test_many_connections_in_parallel_mix_nothing_up(cluster: DockerCluster, kubectl: Path) -> None:
    async with forwarded(cluster, kubectl, 9000) as (port, _):
        datas = [hashlib.shake_256(b"%d" % n).digest(100_000) for n in range(40)]
        assert await asyncio.gather(*(ask(port, data) for data in datas)) == datas


async def test_a_connection_that_nobody_reads_holds_up_no_other(cluster: DockerCluster, kubectl: Path) -> None:
    async with forwarded(cluster, kubectl, 9000) as (port, _):
        _, silent = await asyncio.open_connection("127.0.0.1", port)
        silent.write(b"x" * 100_000)
        assert await ask(port, b"hello") == b"hello"
        silent.close()


async def test_large_data_comes_back_as_it_went(cluster: DockerCluster, kubectl: Path) -> None:
    data = hashlib.shake_256(b"large").digest(10 << 20)
    async with forwarded(cluster, kubectl, 9000) as (port, _):
        assert hashlib.sha256(await ask(port, data)).digest() == hashlib.sha256(data).digest()


async def test_a_refused_port_is_told(cluster: DockerCluster, kubectl: Path) -> None:
    async with forwarded(cluster, kubectl, 7) as (port, process):
        assert await ask(port, b"") == b""
        assert process.stderr is not None
        line = await process.stderr.readline()
        assert b"error forwarding port 7 to pod web" in line and b"refused" in line
