"""kubectl-lite's exec, cp, logs -f and port-forward, as its own process over TLS, into containers of a Docker node."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from kubeapi.pki import kubeconfig
from kubeapi.types.core_v1 import EnvVar
from tests.support.docker_cluster import DockerCluster, Done, box, docker_cluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module")]
SERVE = "mkdir -p /www; echo hello > /www/index.html; echo ready; httpd -f -p 127.0.0.1:8099 -h /www"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DockerCluster]:
    async with docker_cluster(tmp_path_factory.mktemp("cluster")) as made:
        admin = made.ca.client("admin", ["system:masters"], now=datetime.now(UTC))
        server, grpc = f"https://127.0.0.1:{made.server.port}", f"127.0.0.1:{made.server.grpc_port}"
        made.config.write_text(kubeconfig(server=server, ca=made.ca.cert, client=admin, grpc=grpc))
        await made.run("web", shell(SERVE))
        yield made


async def start(cluster: DockerCluster, *words: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kubectl_lite", *words,
        env={**os.environ, "KUBECONFIG": str(cluster.config)}, stdin=pipe, stdout=pipe, stderr=pipe,
    )  # fmt: skip


async def cli(cluster: DockerCluster, *words: str, stdin: bytes = b"") -> Done:
    process = await start(cluster, *words)
    out, err = await process.communicate(stdin)
    return Done(process.returncode or 0, out, err)


async def test_exec_passes_bytes_and_the_exit_code(cluster: DockerCluster) -> None:
    done = await cli(cluster, "exec", "-i", "web", "--", "sh", "-c", "cat; exit 3", stdin=b"a\x00b")
    assert (done.code, done.out) == (3, b"a\x00b")
    assert done.complaint == "command terminated with exit code 3\n"


async def test_files_go_in_and_come_out_again(cluster: DockerCluster, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    (tmp_path / "in").write_bytes(data)
    assert (await cli(cluster, "cp", str(tmp_path / "in"), "web:/tmp/there")).complaint == ""
    assert (await cli(cluster, "cp", "web:/tmp/there", str(tmp_path / "out"))).complaint == ""
    assert (tmp_path / "out").read_bytes() == data
    assert (await cli(cluster, "cp", "default/web:/www", str(tmp_path / "site"))).complaint == ""
    assert (tmp_path / "site" / "index.html").read_text() == "hello\n"
    missing = await cli(cluster, "cp", "web:/nope", str(tmp_path / "x"))
    assert missing.code == 1 and "nope" in missing.complaint


async def test_logs_follow_until_they_are_left(cluster: DockerCluster) -> None:
    process = await start(cluster, "logs", "-f", "web")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    process.terminate()
    await process.communicate()


async def test_a_port_of_a_pod_is_reached_and_a_closed_one_is_told_of(cluster: DockerCluster) -> None:
    process = await start(cluster, "port-forward", "web", ":8099", ":9")
    assert process.stdout is not None and process.stderr is not None
    ports = [int((await process.stdout.readline()).split(b":")[1].split()[0]) for _ in range(2)]
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[0])
    writer.write(b"GET /index.html HTTP/1.0\r\n\r\n")
    assert (await reader.read()).endswith(b"\r\n\r\nhello\n")
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", ports[1])
    assert await reader.read() == b""
    writer.close()
    assert b"port 9 of pod web" in await process.stderr.readline()
    process.terminate()
    await process.communicate()


async def test_a_container_without_tar_is_told_of_and_what_to_do_instead(
    cluster: DockerCluster, tmp_path: Path
) -> None:
    """With nothing in its PATH, for the engine there is no tar in it."""
    await cluster.run("bare", box(env=[EnvVar(name="PATH", value="/nowhere")], command=["/bin/sleep", "1000"]))
    (tmp_path / "in").write_text("x")
    for words in (("cp", str(tmp_path / "in"), "bare:/tmp/x"), ("cp", "bare:/etc/passwd", str(tmp_path / "out"))):
        done = await cli(cluster, *words)
        assert done.code == 1, done
        assert 'there is no tar in container "c" of pod bare' in done.complaint
        assert "exec bare -c c -- cat FILE" in done.complaint
    assert not (tmp_path / "out").exists()


async def test_attach_joins_the_process_that_runs(cluster: DockerCluster) -> None:
    talk = "while read line; do echo heard $line; [ $line = end ] && exit 0; done"
    await cluster.run("talker", shell(talk, stdin=True, stdin_once=True), restart_policy="Never")
    process = await start(cluster, "attach", "-i", "talker")
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(b"hello\n")
    assert await process.stdout.readline() == b"heard hello\n"
    process.stdin.write(b"end\n")
    assert await process.stdout.read() == b"heard end\n"
    assert await process.wait() == 0
    process.stdin.close()
    await cluster.until("talker", lambda pod: pod.status.phase == "Succeeded")
    ended = await cli(cluster, "attach", "talker")
    assert ended.code == 1 and "cannot attach a container in a completed pod" in ended.complaint
    wrong = await cli(cluster, "attach", "web", "-c", "nope")
    assert wrong.code == 1 and "choose one of: ['c']" in wrong.complaint
