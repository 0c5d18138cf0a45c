"""What the API server tells of itself at /metrics, after real requests through both doors onto a durable store."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import grpc
import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from controlplane.apiserver.server import Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from hack.metrics import names as documented
from kubeapi.client.interface import Write
from kubeapi.clock import SystemClock
from kubeapi.errors import Forbidden
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1.api_pb2_grpc import ApiServerStub
from kubeapi.pki import Authority
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta
from tests.component.test_http_api import CM, Http, World, config_map


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    now = datetime.now(UTC)
    ca = Authority.open(tmp_path, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(tmp_path, "apiserver")
    tls = Tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key", tmp_path / "ca.crt")
    store = EmbeddedStore(tmp_path / "store.db")
    async with api_server(store=store, clock=SystemClock(), rng=Random(1), tls=tls) as server:
        made = World(server, ca, tmp_path)
        yield made
        for writer in made.writers:
            writer.transport.abort()
    await store.close()


class Numbers:
    """A scrape, parsed."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
        assert told <= documented(), "a metric that docs/metrics.md does not know"

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples with these labels; KeyError where there is none."""
        found = [
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        if not found:
            raise KeyError(f"{name} {labels}")
        return sum(found)


async def scrape(http: Http) -> Numbers:
    status, _, body = await http.ask("GET", "/metrics")
    assert status == 200
    return Numbers(body.decode())


async def test_requests_are_counted_by_kubernetes_labels(world: World) -> None:
    http = await world.http()
    assert (await http.ask("POST", CM, config_map("a", k="v")))[0] == 201
    for _ in range(3):
        assert (await http.ask("GET", f"{CM}/a"))[0] == 200
    assert (await http.ask("GET", f"{CM}/b"))[0] == 404
    assert (await http.ask("GET", CM))[0] == 200
    async with world.grpc() as client:
        await client.get(ConfigMap, "a", "default")
    told = await scrape(http)
    maps = {"resource": "configmaps", "version": "v1", "group": "", "component": "apiserver"}
    total = "apiserver_request_total"
    assert told.sum(total, **maps, verb="POST", scope="resource", code="201", door="http") == 1
    assert told.sum(total, **maps, verb="GET", scope="resource", code="200", door="http") == 3
    assert told.sum(total, **maps, verb="GET", code="200", door="grpc") == 1
    assert told.sum(total, **maps, verb="GET", code="404", door="http") == 1
    assert told.sum(total, **maps, verb="LIST", scope="namespace", code="200") == 1
    assert told.sum("apiserver_request_duration_seconds_count", **maps, verb="GET") == 5
    assert told.sum("apiserver_request_duration_seconds_bucket", **maps, verb="GET", le="+Inf") == 5
    assert told.sum("apiserver_current_inflight_requests", request_kind="readOnly") == 1, "the scrape itself"
    assert told.sum("apiserver_current_inflight_requests", request_kind="mutating") == 0


async def test_what_keeps_nothing_is_counted_apart(world: World) -> None:
    http = await world.http()
    assert (await http.ask("POST", f"{CM}?dryRun=All", config_map("a", k="v")))[0] == 201
    assert (await http.ask("POST", f"{CM}?dryRun=All&fieldManager=me", config_map("a", k="v")))[0] == 201
    assert (await http.ask("POST", CM, config_map("a", k="v")))[0] == 201
    assert (await http.ask("DELETE", f"{CM}/a?dryRun=All"))[0] == 200
    assert (await http.ask("DELETE", f"{CM}/a?dryRun=Some"))[0] == 400
    mine = world.credentials("admin", "system:masters")
    credentials = grpc.ssl_channel_credentials(world.ca.cert, mine.key, mine.cert)
    async with grpc.aio.secure_channel(f"127.0.0.1:{world.server.grpc_port}", credentials) as channel:
        stub, type_ = ApiServerStub(channel), pb.TypeRef(version="v1", resource="configmaps", kind="ConfigMap")
        await stub.Delete(pb.DeleteRequest(type=type_, namespace="default", name="a", dry_run=True))
        options = pb.WriteOptions(dry_run=True)
        body = config_map("b")
        await stub.Create(pb.CreateRequest(type=type_, namespace="default", object=body, options=options))
    told = await scrape(http)
    maps = {"resource": "configmaps", "component": "apiserver"}
    total = "apiserver_request_total"
    assert told.sum(total, **maps, verb="POST", dry_run="All", door="http") == 2
    assert told.sum(total, **maps, verb="POST", dry_run="All", door="grpc") == 1
    assert told.sum(total, **maps, verb="POST", dry_run="") == 1
    assert told.sum(total, **maps, verb="DELETE", dry_run="All", door="http") == 1
    assert told.sum(total, **maps, verb="DELETE", dry_run="All", door="grpc") == 1
    assert told.sum(total, **maps, verb="DELETE", dry_run="invalid", code="400") == 1


async def test_what_is_not_served_makes_no_series(world: World) -> None:
    http, stranger = await world.http(), await world.http("eve", "nobody")
    for path in ("/apis/odd.io/v1/oddities", f"{CM}/a/oddity", "/oddity"):
        assert (await http.ask("GET", path))[0] == 404
        assert (await stranger.ask("GET", path))[0] == 403
    async with world.grpc("eve", "nobody") as client:
        with pytest.raises(Forbidden):
            await client.get(ConfigMap, "a", "default")
    _, _, body = await http.ask("GET", "/metrics")
    assert b"odd" not in body


async def test_streams_count_while_they_last(world: World) -> None:
    http, watching = await world.http(), await world.http()
    watching.writer.write(f"GET {CM}?watch=true HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await watching.reader.readuntil(b"\r\n\r\n")
    where = {"verb": "WATCH", "resource": "configmaps", "scope": "namespace"}
    async with (
        world.grpc() as client,
        aclosing(client.watch(ConfigMap, resource_version=0)) as events,
    ):
        made = asyncio.ensure_future(anext(events))
        await http.ask("POST", CM, config_map("a"))
        batch = await made
        assert 0 <= batch[0].age < 5, "told how long the server had known of it"
        told = await scrape(http)
        assert told.sum("apiserver_longrunning_requests", **where) == 1
        assert told.sum("apiserver_longrunning_requests", resource="configmaps") == 2
        assert told.sum("sampan_watch_cache_watchers", resource="configmaps") == 2
    watching.writer.transport.abort()
    async with asyncio.timeout(5):
        while (await scrape(http)).sum("apiserver_longrunning_requests", resource="configmaps"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_the_store_and_the_watch_cache_tell_what_they_do(world: World) -> None:
    http = await world.http()
    before = (await scrape(http)).sum("sampan_store_batch_size_count")
    async with world.grpc() as client:
        metas = [ObjectMeta(name=f"m{i}", namespace="default") for i in range(20)]
        made = await client.batch([Write("create", ConfigMap(metadata=meta), namespace="default") for meta in metas])
        assert not any(one.error for one in made)
    await http.ask("GET", CM)
    told = await scrape(http)
    done = {"operation": "create", "type": "configmaps"}
    assert told.sum("etcd_request_duration_seconds_count", **done) == told.sum("etcd_requests_total", **done) == 20
    assert told.sum("etcd_request_errors_total", **done) == 0
    assert before < told.sum("sampan_store_batch_size_count") < before + 20, "writes of one moment share a commit"
    assert told.sum("sampan_store_commit_duration_seconds_sum") > 0
    assert told.sum("apiserver_storage_size_bytes", storage_cluster_id="sqlite-0") > 4096
    assert told.sum("apiserver_storage_objects", resource="configmaps") >= 20
    assert told.sum("apiserver_watch_cache_events_received_total", resource="configmaps") >= 20
    assert told.sum("apiserver_terminated_watchers_total", resource="configmaps") == 0
    newest = json.loads((await http.ask("GET", f"{CM}/m19"))[2])["metadata"]["resourceVersion"]
    assert told.sum("apiserver_watch_cache_resource_version", resource="configmaps") >= int(newest) - 20


async def test_the_process_its_build_and_its_certificates_are_told(world: World) -> None:
    told = await scrape(await world.http())
    year = 365 * 24 * 3600
    for certificate, seconds in (("server", year * 0.9), ("ca", year * 9)):
        ends = told.sum("sampan_certificate_expiration_timestamp_seconds", certificate=certificate)
        assert ends > datetime.now(UTC).timestamp() + seconds * 0.9
    shown = "apiserver_client_certificate_expiration_seconds"
    before = told.sum(f"{shown}_count")
    async with world.grpc() as client:
        await client.list(ConfigMap)
        await client.list(ConfigMap)
    told = await scrape(await world.http())
    assert told.sum(f"{shown}_count") == before + 3, "a connection over HTTP, two calls over gRPC"
    assert told.sum(f"{shown}_bucket", le="604800.0") == 0, "none ends within a week"
    assert told.sum("kubernetes_build_info", major="1") == 1
    assert told.sum("process_resident_memory_bytes") > 1 << 20
    assert told.sum("process_start_time_seconds") > 0
    assert told.sum("python_info") == 1
