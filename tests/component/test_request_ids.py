"""One id follows a request from a client to the API server's log, its answer, and the node's log."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import grpc.aio
import pytest

from controlplane.apiserver.server import Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import StoreUnavailable
from kubeapi import logs
from kubeapi.clock import SystemClock
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1.api_pb2_grpc import ApiServerStub
from kubeapi.pki import Authority
from kubeapi.types.core_v1 import Container, Pod, PodSpec
from kubeapi.types.meta_v1 import ObjectMeta
from kubectl_lite.server import Server
from node_agent.server import Tls as NodeTls
from sampan.node import NodeConfig, run
from tests.component.kubectl_lite_world import world as cli_world
from tests.component.test_http_api import CM, World, config_map


class Book(logging.Handler):
    """What is logged, as JSON lines would have it."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonLines())
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def of(self, logger: str) -> list[dict[str, object]]:
        return [line for line in self.lines if line["logger"] == logger]


@pytest.fixture
def book() -> Iterator[Book]:
    made, root = Book(), logging.getLogger()
    level = root.level
    root.addHandler(made)
    root.setLevel(logging.INFO)
    yield made
    root.removeHandler(made)
    root.setLevel(level)


class Clock(SystemClock):
    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


class Store(EmbeddedStore):
    """Takes as long as it is told, by the clock; or is away."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.takes, self.away = clock, 0.0, False

    async def create(self, key: str, value: bytes) -> int:
        if self.away:
            raise StoreUnavailable("nobody there")
        self.clock.ahead += self.takes
        return await super().create(key, value)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    now, clock = datetime.now(UTC), Clock()
    ca = Authority.open(tmp_path, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(tmp_path, "apiserver")
    tls = Tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key", tmp_path / "ca.crt")
    store = Store(clock)
    async with api_server(store=store, clock=clock, rng=Random(1), tls=tls, log_writes=True) as server:
        made = World(server, ca, tmp_path)
        made.store = store  # type: ignore[attr-defined]
        yield made
        for writer in made.writers:
            writer.transport.abort()
    await store.close()


async def test_http_takes_over_an_id_and_makes_one_where_there_is_none(world: World) -> None:
    http = await world.http()
    _, headers, _ = await http.ask("GET", CM, Audit_ID="mine-1")
    assert headers["audit-id"] == "mine-1"
    made = [
        (await http.ask("GET", path, **given))[1]["audit-id"]
        for path in (CM, "/nowhere")
        for given in ({}, {"Audit_ID": "no good"})
    ]
    assert len(set(made)) == 4 and all(len(one) == 36 for one in made)
    nobody = await world.http("")
    status, headers, _ = await nobody.ask("GET", CM, Audit_ID="mine-2")
    assert (status, headers["audit-id"]) == (401, "mine-2")


async def test_grpc_takes_it_over_too(world: World) -> None:
    mine = world.credentials("admin", "system:masters")
    credentials = grpc.ssl_channel_credentials(world.ca.cert, mine.key, mine.cert)
    async with grpc.aio.secure_channel(f"127.0.0.1:{world.server.grpc_port}", credentials) as channel:
        stub = ApiServerStub(channel)
        call = stub.Version(pb.VersionRequest(), metadata=(("sampan-request-id", "mine-3"),))
        await call
        assert dict(await call.trailing_metadata())["sampan-request-id"] == "mine-3"
        lost = stub.Get(pb.GetRequest(type=pb.TypeRef(version="v1", resource="pods"), namespace="d", name="x"))
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await lost
        trailer = dict(raised.value.trailing_metadata() or ())
        assert len(str(trailer["sampan-request-id"])) == 36


async def test_the_log_tells_writes_with_their_object_and_slow_ones_with_their_stages(world: World, book: Book) -> None:
    http, store = await world.http(), world.store  # type: ignore[attr-defined]
    await http.ask("GET", CM)
    await http.ask("POST", f"{CM}?fieldManager=me", config_map("quick"), Audit_ID="id-1")
    store.takes = 2.5
    await http.ask("PUT", f"{CM}/quick", config_map("quick", k="v"), Audit_ID="id-2")
    await http.ask("POST", CM, config_map("slow"), Audit_ID="id-3")
    store.takes = 0.0
    await http.ask("POST", CM, config_map("others"), Impersonate_User="jane", Impersonate_Group="system:masters")
    quick, update, slow, others = book.of("sampan.access")
    assert quick["message"] == f"served: POST {CM}?fieldManager=me"
    assert (quick["level"], quick["code"], quick["user"], quick["request_id"]) == ("info", 201, "admin", "id-1")
    assert update["object"] == {"kind": "ConfigMap", "namespace": "default", "name": "quick"}
    assert (others["user"], others["impersonated_user"]) == ("admin", "jane") and "impersonated_user" not in quick
    assert slow["level"] == "warning" and slow["request_id"] == "id-3"
    assert str(slow["message"]).startswith(f"slow: POST {CM} (auth 0.0") and "store 2.5" in str(slow["message"])


async def test_failures_of_ours_are_told_but_not_thousands_of_them(world: World, book: Book) -> None:
    http, store = await world.http(), world.store  # type: ignore[attr-defined]
    store.away = True
    for number in range(60):
        assert (await http.ask("POST", CM, config_map(f"c{number}"), Audit_ID=f"try-{number}"))[0] == 503
    told = book.of("sampan.access")
    assert (told[0]["level"], told[0]["code"], told[0]["request_id"]) == ("warning", 503, "try-0")
    assert len(told) <= 45, "twenty in a second"
    store.away = False
    store.clock.ahead += 2
    store.away = True
    await http.ask("POST", CM, config_map("last"))
    assert sum(int(str(line.get("untold", 0))) for line in book.of("sampan.access")) == 60 - len(told)


async def test_one_commands_id_is_in_the_servers_and_in_the_nodes_log(world: World, book: Book, tmp_path: Path) -> None:
    mine = world.ca.peer("system:node:n1", ["system:masters"], ["127.0.0.1"], now=datetime.now(UTC))
    tls = NodeTls(certificate=mine.cert, key=mine.key, ca=world.ca.cert)
    config = NodeConfig(name="n1", ip="127.0.0.1", data=tmp_path, runtime="hollow", pod_cidr="10.244.1.0/24", tls=tls)
    ready = asyncio.Event()
    async with world.grpc() as client:
        task = asyncio.create_task(run(config, client, ready=ready.set))
        await ready.wait()
        spec = PodSpec(node_name="n1", containers=[Container(name="main", image="web:1")])
        await client.create(Pod(metadata=ObjectMeta(name="web", namespace="default"), spec=spec))
        async with asyncio.timeout(10):
            while (await client.get(Pod, "web", "default")).status.phase != "Running":  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    me = world.credentials("admin", "system:masters")
    credentials = grpc.ssl_channel_credentials(world.ca.cert, me.key, me.cert)
    async with grpc.aio.secure_channel(f"127.0.0.1:{world.server.grpc_port}", credentials) as channel:
        cli = Server(channel, token="", timeout=10, warn=lambda text: None, request_id="from-the-cli")
        remote = await cli.exec("web", "default", ["true"])
        async for _ in remote.output():
            pass
        assert await remote.exit_code() == 0
        async for _ in cli.logs("web", "default"):
            pass
    http = await world.http()
    await http.ask("GET", "/api/v1/namespaces/default/pods/web/log", Audit_ID="from-http")
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    pod = {"kind": "Pod", "namespace": "default", "name": "web"}
    (session,) = [line for line in book.of("sampan.access") if line.get("request_id") == "from-the-cli"]
    assert session["object"] == pod and session["message"] == "served: gRPC exec pods/default/web"
    node = [
        (line["message"], line["request_id"]) for line in book.lines if str(line["logger"]).startswith("sampan.node")
    ]
    assert ("exec, container main", "from-the-cli") in node
    assert ("logs, container main", "from-the-cli") in node
    assert ("logs, container main", "from-http") in node
    assert all(line["object"] == pod for line in book.of("sampan.node.server"))


async def test_the_cli_tells_the_id_of_a_failed_request_when_it_is_asked_to() -> None:
    async with cli_world() as cli:
        cli.server.request_id = "from-the-cli"
        assert "Request ID" not in (await cli.run("get", "pod", "x")).err
        assert (await cli.run("get", "pod", "x", "-v", "1")).err.endswith("Request ID: from-the-cli\n")
        assert (await cli.run("get", "pod", "x", "--v=1")).err.endswith("Request ID: from-the-cli\n")
