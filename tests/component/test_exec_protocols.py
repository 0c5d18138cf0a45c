"""exec over SPDY as each version of its protocol says it, with a client made of frames and a hollow node behind."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.apiserver.streaming import exec_spdy, spdy_frames
from controlplane.apiserver.streaming.exec import Wish, prepare
from controlplane.apiserver.streaming.exec_spdy import V1, V2, V3, V4
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.spdy_frames import Data, HeaderCodec, Parser
from kubeapi.clock import SystemClock
from kubeapi.errors import BadRequest, NotFound
from node_agent.dialing import PlainDialer
from node_agent.parts import Observer
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from node_agent.runtimes.interface import ContainerSpec, SandboxSpec
from node_agent.server import NodeServer, start_server
from tests.unit.streaming.pipe import Pipe


@pytest.fixture
async def link() -> AsyncIterator[NodeLink]:
    """The way to a hollow node with one pod, `web`; `crashing` and `done` are only in the API."""
    runtime = HollowRuntime(clock=SystemClock(), behaviours={"i": Behaviour(exec_replies={("false",): (7, b"no\n")})})
    await runtime.pull_image("i")
    sandbox = await runtime.run_sandbox(SandboxSpec(pod_uid="u1", name="web", namespace="d", hostname="web"))
    await runtime.start_container(ContainerSpec(pod_uid="u1", name="c", image="i", attempt=0, spec_hash="h"), sandbox)
    servicer = NodeServer(
        node="n1", runtime=runtime, observer=Observer(runtime), dialer=PlainDialer(), clock=SystemClock(), secure=False
    )
    server, port = await start_server(servicer, address="127.0.0.1:0", tls=None)

    def pod(name: str, uid: str, phase: str, *states: dict[str, Any], names: str = "c") -> dict[str, Any]:
        statuses = [{"name": "c", "state": state} for state in states]
        return {
            "metadata": {"name": name, "namespace": "d", "uid": uid},
            "spec": {"nodeName": "n1", "containers": [{"name": n} for n in names]},
            "status": {"phase": phase, "containerStatuses": statuses},
        }

    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    objects = {
        "web": pod("web", "u1", "Running", {"running": {}}),
        "crashing": pod("crashing", "u2", "Running", waiting),
        "done": pod("done", "u3", "Succeeded"),
        "pair": pod("pair", "u4", "Running", names="ab"),
        "n1": {
            "metadata": {"name": "n1"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
            },
        },
    }

    async def get(plural: str, namespace: str, name: str) -> dict[str, Any]:
        if name not in objects:
            raise NotFound(f'{plural} "{name}" not found')
        return objects[name]

    made = NodeLink(get, credentials=None)
    yield made
    await made.close()
    await server.stop(None)
    await runtime.close()


async def run(link: NodeLink, protocol: str, *command: str, kinds: list[str], stdin: bytes = b"") -> dict[str, bytes]:
    """What came back on each stream, after the server has closed them all."""
    wish = Wish("d", "web", command=command, stdin="stdin" in kinds, stdout="stdout" in kinds, stderr="stderr" in kinds)
    pipe, headers, parser = Pipe(), HeaderCodec(), Parser()
    serving = asyncio.create_task(exec_spdy.takeover(link, await prepare(link, wish), protocol)(pipe))
    ids = {2 * n + 1: kind for n, kind in enumerate(kinds)}
    for id_, kind in ids.items():
        pipe.feed(spdy_frames.syn_stream(id_, headers.write({"streamType": kind})))
        if kind == "stdin":
            pipe.feed(spdy_frames.data(id_, stdin, fin=True))
    found, closed = dict.fromkeys(kinds, b""), set()
    async with asyncio.timeout(10):
        while closed != set(ids):
            for frame in parser.feed(await pipe.take()):
                if isinstance(frame, Data):
                    found[ids[frame.stream]] += frame.piece
                    closed |= {frame.stream} if frame.fin else set()
        pipe.leave()
        await serving
    return found


@pytest.mark.parametrize("protocol", [V1, V2, V3, V4])
async def test_success(link: NodeLink, protocol: str) -> None:
    found = await run(link, protocol, "cat", kinds=["error", "stdin", "stdout", "stderr"], stdin=b"hello")
    assert found["stdout"] == b"hello"
    if protocol == V4:
        assert json.loads(found["error"])["status"] == "Success"
    else:
        assert found["error"] == b""


@pytest.mark.parametrize("protocol", [V1, V2, V3, V4])
async def test_failure(link: NodeLink, protocol: str) -> None:
    found = await run(link, protocol, "false", kinds=["error", "stdout"])
    assert found["stdout"] == b"no\n"
    if protocol == V4:
        status = json.loads(found["error"])
        assert status["reason"] == "NonZeroExitCode"
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "7"}]
    else:
        assert found["error"] == b"command terminated with non-zero exit code: exit status 7"


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (Wish("d", "web", command=["x"], stdout=False, stderr=False), "at least one of stdin, stdout, stderr"),
        (Wish("d", "web"), "at least one command"),
        (Wish("d", "web", "b", ["x"]), "container b is not valid for pod web, choose one of: [c]"),
        (Wish("d", "pair", "", ["x"]), "a container name must be specified for pod pair, choose one of: [a b]"),
        (Wish("d", "crashing", "", ["x"]), 'container "c" in pod "crashing" is not running: CrashLoopBackOff'),
        (Wish("d", "done", "", ["x"]), "cannot exec into a container in a completed pod; current phase is Succeeded"),
        (Wish("d", "done", attach=True), "cannot attach to a container in a completed pod"),
    ],
)
async def test_what_is_refused_before_the_upgrade(link: NodeLink, wish: Wish, text: str) -> None:
    with pytest.raises(BadRequest) as raised:
        await prepare(link, wish)
    assert text in raised.value.message
