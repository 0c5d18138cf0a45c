"""Short questions to an engine: connections are kept, and what became of them is not the asker's business."""

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from node_agent.runtimes.docker_calls import EngineCalls, Refused
from node_agent.runtimes.docker_spec import sandbox_options
from node_agent.runtimes.errors import RuntimeUnavailable
from node_agent.runtimes.hangup import signal_container
from node_agent.runtimes.interface import SandboxSpec

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"


@asynccontextmanager
async def engine(folder: Path, serve: Serve) -> AsyncIterator[tuple[EngineCalls, list[int]]]:
    """The client, and for each connection so far how many questions came over it."""
    counts: list[int] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        counts.append(0)
        mine = len(counts) - 1
        try:
            while not reader.at_eof():
                await reader.readuntil(b"\r\n\r\n")
                counts[mine] += 1
                await serve(reader, writer)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    path = folder / "engine.sock"
    async with await asyncio.start_unix_server(accept, path):
        calls = EngineCalls(f"unix://{path}", version="1.41")
        try:
            yield calls, counts
        finally:
            await calls.close()
            await asyncio.sleep(0)


async def test_one_connection_serves_one_question_after_the_other(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)

    async with engine(tmp_path, serve) as (calls, counts):
        for _ in range(3):
            assert await calls.json("GET", "/info") is True
    assert counts == [3]


async def test_a_kept_connection_that_has_ended_is_replaced(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        writer.close()

    async with engine(tmp_path, serve) as (calls, counts):
        for _ in range(3):
            assert await calls.json("GET", "/info") is True
    assert counts == [1, 1, 1]


async def test_pieces_are_put_together(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n[1,\r\n2\r\n2]\r\n0\r\n\r\n")

    async with engine(tmp_path, serve) as (calls, counts):
        assert [await calls.json("GET", "/images/json") for _ in range(2)] == [[1, 2], [1, 2]]
    assert counts == [2]


async def test_a_refusal_tells_why_and_ends_nothing(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        text = b'{"message":"No such container: x"}'
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    async with engine(tmp_path, serve) as (calls, counts):
        for _ in range(2):
            with pytest.raises(Refused, match="No such container") as caught:
                await calls.ask("GET", "/containers/x/json")
            assert caught.value.status == 404
    assert counts == [2]


async def test_an_engine_that_dies_in_its_answer_is_unavailable(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:-2])
        writer.close()

    async with engine(tmp_path, serve) as (calls, _):
        with pytest.raises(RuntimeUnavailable):
            await calls.ask("GET", "/info")


async def test_an_engine_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with engine(tmp_path, serve) as (calls, _):
        with pytest.raises(RuntimeUnavailable, match=r"0\.05 s"):
            await calls.ask("GET", "/info", seconds=0.05)


async def test_no_engine_is_unavailable(tmp_path: Path) -> None:
    calls = EngineCalls(f"unix://{tmp_path}/nothing.sock", version="1.41")
    with pytest.raises(RuntimeUnavailable):
        await calls.ask("GET", "/info")


async def test_only_a_process_of_the_container_is_signalled() -> None:
    stranger = await asyncio.create_subprocess_exec("sleep", "60")
    try:
        assert not signal_container(stranger.pid, "a" * 64, "SIGKILL")
        assert not signal_container(0, "", "SIGKILL")
        assert not signal_container(stranger.pid, "a" * 64, "SIGNONSENSE")
        # Names that stand in its own groups are a proof; "/" stands in everybody's.
        assert signal_container(stranger.pid, "/", "TERM")
        async with asyncio.timeout(5):
            assert await stranger.wait() == -signal.SIGTERM
    finally:
        if stranger.returncode is None:
            stranger.kill()


def test_the_engine_makes_a_network_for_no_pod() -> None:
    spec = SandboxSpec(pod_uid="u", name="web", namespace="default", hostname="web")
    made = sandbox_options(spec, image="pause", node="n1", oom_score_adj=0)
    assert made["NetworkDisabled"]
    assert made["Hostname"] == "web"


def test_a_sandbox_has_no_power_and_where_others_reach_it_a_filter() -> None:
    alone = SandboxSpec(pod_uid="u", name="web", namespace="default", hostname="web")
    for spec in (alone, replace(alone, share_pid=True), replace(alone, host_pid=True)):
        host = sandbox_options(spec, image="pause", node="n1", oom_score_adj=0)["HostConfig"]
        assert host["CapDrop"] == ["ALL"]
        assert "no-new-privileges" in host["SecurityOpt"]
        assert ("seccomp=unconfined" in host["SecurityOpt"]) is (spec is alone)


@pytest.mark.docker
async def test_a_pod_begins_with_a_network_of_its_own_and_nothing_in_it() -> None:
    calls = EngineCalls("unix:///var/run/docker.sock", version="1.41")
    spec = SandboxSpec(pod_uid="u", name="web", namespace="default", hostname="web")
    body = sandbox_options(spec, image="sampan/pause:1", node="calls-test", oom_score_adj=0)
    made = (await calls.json("POST", "/containers/create", body=body))["Id"]
    try:
        await calls.ask("POST", f"/containers/{made}/start")
        pid = (await calls.json("GET", f"/containers/{made}/json"))["State"]["Pid"]
        assert os.stat(f"/proc/{pid}/ns/net").st_ino != os.stat("/proc/self/ns/net").st_ino
        listed = await asyncio.to_thread(
            subprocess.run, ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link"], capture_output=True, text=True
        )
        assert [line.split()[1] for line in listed.stdout.splitlines()] == ["lo:"]
        assert signal_container(pid, made, "SIGKILL")
        async with asyncio.timeout(10):
            await calls.ask("POST", f"/containers/{made}/wait")
    finally:
        await calls.ask("DELETE", f"/containers/{made}", query={"force": "1"})
        await calls.close()
