"""The doors over real loopback sockets: what a client may send, and that nothing makes a 500."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from controlplane.apiserver.server import ApiServer, Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from kubeapi import codec_protobuf
from kubeapi.client.grpc_client import GrpcClient, connect
from kubeapi.clock import SystemClock
from kubeapi.errors import Forbidden, NotFound
from kubeapi.pb.kubernetes import core_v1_pb2
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pki import Authority, Credentials
from kubeapi.types import core_v1, meta_v1

CM = "/api/v1/namespaces/default/configmaps"
Answer = tuple[int, dict[str, str], bytes]


class Http:
    """One keep-alive connection; raw, so that a test can send what no client library would."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        return await self.answer()

    async def answer(self) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers, body


class World:
    def __init__(self, server: ApiServer, ca: Authority, directory: Path) -> None:
        self.server, self.ca, self.directory = server, ca, directory
        self.writers: list[asyncio.StreamWriter] = []

    def credentials(self, user: str, *groups: str) -> Credentials:
        return self.ca.client(user, groups, now=datetime.now(UTC))

    async def http(self, user: str = "admin", *groups: str) -> Http:
        context = ssl.create_default_context(cadata=self.ca.cert.decode())
        if user:
            self.credentials(user, *(groups or ("system:masters",))).save(self.directory, user)
            context.load_cert_chain(self.directory / f"{user}.crt", self.directory / f"{user}.key")
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context)
        self.writers.append(writer)
        return Http(reader, writer)

    def grpc(self, user: str = "admin", group: str = "system:masters"):  # type: ignore[no-untyped-def]
        mine = self.credentials(user, group)
        return connect(f"127.0.0.1:{self.server.grpc_port}", ca=self.ca.cert, cert=mine.cert, key=mine.key)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    now = datetime.now(UTC)
    ca = Authority.open(tmp_path, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(tmp_path, "apiserver")
    tls = Tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key", tmp_path / "ca.crt")
    store = EmbeddedStore()
    try:
        async with api_server(store=store, clock=SystemClock(), rng=Random(1), tls=tls) as server:
            made = World(server, ca, tmp_path)
            try:
                yield made
            finally:
                for writer in made.writers:
                    writer.transport.abort()
    finally:
        await store.close()


def config_map(name: str, **data: str) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}).encode()


async def test_what_one_door_writes_the_other_reads(world: World) -> None:
    http = await world.http()
    assert (await http.ask("POST", CM, config_map("a", k="v")))[0] == 201
    async with world.grpc() as client:
        found = await client.get(core_v1.ConfigMap, "a", "default")
        assert found.data == {"k": "v"}
        await client.delete(core_v1.ConfigMap, "a", "default")
    status, _, body = await http.ask("GET", f"{CM}/a")
    assert (status, json.loads(body)["reason"]) == (404, "NotFound")


async def test_nobody_gets_in_but_to_health(world: World) -> None:
    http = await world.http("")
    assert (await http.ask("GET", "/readyz"))[2] == b"ok"
    assert (await http.ask("GET", "/version"))[0] == 401
    assert (await http.ask("GET", CM))[0] == 401


async def test_both_doors_refuse_whom_no_rule_names(world: World) -> None:
    http = await world.http("bob", "staff")
    status, _, body = await http.ask("GET", f"{CM}/a")
    text = json.loads(body)["message"]
    assert status == 403
    assert 'User "bob" cannot get resource "configmaps" in API group "" in the namespace "default"' in text
    async with world.grpc("bob", "staff") as client:
        with pytest.raises(Forbidden) as refused:
            await client.get(core_v1.ConfigMap, "a", "default")
    assert refused.value.message == text


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    http = await world.http()
    one = "GET /api/v1/namespaces/{} HTTP/1.1\r\nHost: x\r\n\r\n"
    http.writer.write("".join(one.format(n) for n in ("default", "kube-system", "nope")).encode())
    names = [json.loads((await http.answer())[2]).get("metadata", {}).get("name") for _ in range(3)]
    assert names == ["default", "kube-system", None]


async def test_a_watch_sends_lines_and_its_initial_events_end_with_a_bookmark(world: World) -> None:
    http, other = await world.http(), await world.http()
    await http.ask("POST", CM, config_map("first"))
    path = f"{CM}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    other.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await other.reader.readuntil(b"\r\n\r\n")
    await http.ask("POST", CM, config_map("second"))
    events: list[dict[str, Any]] = []
    while not events or events[-1]["object"]["metadata"].get("name") != "second":
        line = await other.reader.readline()
        events += [json.loads(line)] if line.startswith(b"{") else []
    assert [e["type"] for e in events] == ["ADDED", "BOOKMARK", "ADDED"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "expected"),
    [
        ("POST", CM, b"{", {}, 400),
        ("POST", CM, b"\xff\xfe", {}, 400),
        ("POST", CM, b"[]", {}, 400),
        ("POST", CM, b"", {}, 400),
        ("POST", CM, b'{"kind":"Pod","apiVersion":"v1"}', {}, 400),
        ("POST", CM, b"k8s\0\xff\xff", {"Content_Type": "application/vnd.kubernetes.protobuf"}, 400),
        ("POST", CM, b"a: [", {"Content_Type": "application/yaml"}, 400),
        ("POST", CM, b"x", {"Content_Type": "application/cbor"}, 415),
        ("POST", f"{CM}/a", b"{}", {}, 405),
        ("GET", CM, b"", {"Accept": "application/cbor"}, 406),
        ("GET", f"{CM}?limit=x", b"", {}, 400),
        ("GET", f"{CM}?labelSelector=%3D%3D%3D", b"", {}, 400),
        ("GET", f"{CM}?continue=%ff", b"", {}, 400),
        ("GET", f"{CM}?resourceVersion=-1", b"", {}, 400),
        ("GET", f"{CM}?watch=1&labelSelector=%3D%3D%3D", b"", {}, 400),
        ("PATCH", f"{CM}/a", b"{}", {"Content_Type": "application/json"}, 415),
        ("PATCH", f"{CM}/a", b"{}", {"Content_Type": "application/apply-patch+yaml"}, 415),
        ("DELETE", f"{CM}/a?gracePeriodSeconds=-1", b"", {}, 400),
        ("DELETE", f"{CM}/a?propagationPolicy=X", b"", {}, 404),
        ("GET", "/apis/nope/v1/things", b"", {}, 404),
        ("GET", "/api/v1/namespaces/default/pods/none/log", b"", {}, 404),
        ("GET", "/api/v1/namespaces/default/pods/none/exec?command=x&stdout=1", b"", {}, 400),
        ("BREW", CM, b"", {}, 400),
    ],
)
async def test_no_input_makes_a_500(
    world: World, method: str, path: str, body: bytes, headers: dict[str, str], expected: int
) -> None:
    http = await world.http()
    assert (await http.ask(method, path, body, **headers))[0] == expected


async def test_a_body_too_large_is_refused_before_it_is_sent(world: World) -> None:
    http = await world.http()
    http.writer.write(f"POST {CM} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n".encode())
    assert (await http.answer())[0] == 413


async def test_unknown_fields_warn_or_are_refused_as_asked(world: World) -> None:
    http = await world.http()
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"w"},"spec":{}}'
    status, headers, _ = await http.ask("POST", CM, body)
    assert status == 201 and headers["warning"] == '299 - "unknown field \\"spec\\""'
    assert (await http.ask("POST", f"{CM}?fieldValidation=Strict", body))[0] == 400


async def test_a_table_has_columns_and_rows(world: World) -> None:
    http = await world.http()
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    table = json.loads((await http.ask("GET", "/api/v1/namespaces", Accept=accept))[2])
    assert table["kind"] == "Table" and "default" in [row["cells"][0] for row in table["rows"]]


async def test_a_watch_over_grpc_carries_batches(world: World) -> None:
    async with world.grpc() as client:
        client_: GrpcClient = client
        at = (await client_.list(core_v1.ConfigMap, "default")).resource_version
        made = core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="b", namespace="default"))
        await client_.create(made)
        watch = client_.watch(core_v1.ConfigMap, "default", resource_version=at)
        batch = await anext(watch)
        await watch.aclose()  # type: ignore[attr-defined]
        assert [(e.type, e.object.metadata.name) for e in batch] == [("ADDED", "b")]
        with pytest.raises(NotFound):
            await client_.get(core_v1.ConfigMap, "c", "default")


PROTOBUF = "application/vnd.kubernetes.protobuf"


def opened(data: bytes) -> tuple[str, bytes]:
    _, kind, raw = codec_protobuf.open_envelope(data)
    return kind, raw


def parts(message: bytes) -> dict[int, bytes]:
    """The fields of a message that has only strings, bytes and messages."""
    found = {}
    while message:
        size = shift = 0
        at = 1
        while True:
            size |= (message[at] & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not message[at - 1] & 0x80:
                break
        found[message[0] >> 3] = message[at : at + size]
        message = message[at + size :]
    return found


async def test_lists_and_watches_in_protobuf(world: World) -> None:
    http, other = await world.http(), await world.http()
    await http.ask("POST", CM, config_map("first", k="v" * 300))
    status, headers, body = await http.ask("GET", CM, Accept=f"{PROTOBUF},application/json")
    assert (status, headers["content-type"]) == (200, PROTOBUF)
    kind, raw = opened(body)
    listed = core_v1_pb2.ConfigMapList.FromString(raw)
    assert kind == "ConfigMapList" and [dict(i.data) for i in listed.items if i.metadata.name == "first"]
    path = f"{CM}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
    other.writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {PROTOBUF};stream=watch\r\n\r\n".encode())
    head = (await other.reader.readuntil(b"\r\n\r\n")).decode()
    assert f"Content-Type: {PROTOBUF};stream=watch" in head
    stream = b""
    while b"initial-events-end" not in stream:
        size = int((await other.reader.readline()).strip(), 16)
        stream += (await other.reader.readexactly(size + 2))[:-2]
    kinds = []
    while stream:
        length = int.from_bytes(stream[:4], "big")
        event, stream = parts(stream[4 : 4 + length]), stream[4 + length :]
        kind, raw = opened(parts(event[2])[1])
        kinds.append((event[1].decode(), kind, core_v1_pb2.ConfigMap.FromString(raw).metadata.name))
    assert kinds == [("ADDED", "ConfigMap", "first"), ("BOOKMARK", "ConfigMap", "")]


async def test_a_watch_ends_when_its_time_is_up_through_both_doors(world: World) -> None:
    http = await world.http()
    begun = asyncio.get_running_loop().time()
    http.writer.write(f"GET {CM}?watch=1&timeoutSeconds=1&resourceVersion=0 HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await http.reader.readuntil(b"\r\n0\r\n\r\n")
    async with world.grpc() as client:
        request = pb.WatchRequest(type=pb.TypeRef(version="v1", resource="configmaps"), timeout_seconds=1)
        assert [reply async for reply in client._stub.Watch(request)] == []
    assert 1.9 < asyncio.get_running_loop().time() - begun < 10


async def test_pods_of_one_template_share_their_spec(world: World) -> None:
    """Read, filled in and looked at once; what their namespace and their own words make different stays different."""
    http = await world.http()

    async def create(name: str, **spec: Any) -> core_v1.PodSpec:
        container = {"name": "main", "image": "busybox:1", "resources": {"limits": {"cpu": "0.5"}}}
        body = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {"containers": [container], **spec},
        }
        status, _, answer = await http.ask("POST", "/api/v1/namespaces/default/pods", json.dumps(body).encode())
        assert status == 201, answer
        held = world.server.api.cache.get(f"/registry/core/pods/default/{name}")
        assert held is not None and json.loads(answer)["spec"]["containers"][0]["resources"]["requests"] == {
            "cpu": "500m"
        }
        return held.object.spec  # type: ignore[no-any-return]

    first, second, other = await create("a"), await create("b"), await create("c", restartPolicy="Never")
    assert first is second
    assert (first.restart_policy, other.restart_policy) == ("Always", "Never")
    account = core_v1.ServiceAccount(
        metadata=meta_v1.ObjectMeta(name="default"), image_pull_secrets=[core_v1.LocalObjectReference(name="s")]
    )
    path = "/api/v1/namespaces/default/serviceaccounts"
    assert (await http.ask("POST", path, msgspec.json.encode(account)))[0] == 201
    third, fourth = await create("d"), await create("e")
    assert third is fourth and third.image_pull_secrets == account.image_pull_secrets
