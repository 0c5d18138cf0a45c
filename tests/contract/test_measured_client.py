"""What a measured client counts: the same over gRPC and within the process, against a real API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.server import ApiServer, Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.grpc_client import connect
from kubeapi.client.interface import Client, Write
from kubeapi.client.local import LocalClient
from kubeapi.client.measured import MeasuredClient
from kubeapi.client.metrics import RequestNumbers
from kubeapi.clock import SystemClock
from kubeapi.errors import AlreadyExists, ApiError, BadRequest, Conflict, NotFound, ServiceUnavailable
from kubeapi.meta import replace
from kubeapi.pki import Authority
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta


class Asked:
    """A measured client, and what it told of itself."""

    def __init__(self, client: Client, host: str = "h:1") -> None:
        self.registry = CollectorRegistry()
        self.client = MeasuredClient(client, host=host, metrics=RequestNumbers(self.registry, client="test"))
        self._host = host

    def number(self, method: str, code: str) -> float:
        labels = {"client": "test", "host": self._host, "method": method, "code": code}
        return self.registry.get_sample_value("rest_client_requests_total", labels) or 0

    def timed(self, verb: str) -> float:
        labels = {"client": "test", "host": self._host, "verb": verb}
        count = self.registry.get_sample_value("rest_client_request_duration_seconds_count", labels) or 0
        last = self.registry.get_sample_value("rest_client_request_duration_seconds_bucket", labels | {"le": "+Inf"})
        assert (last or 0) == count
        return count


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServer]:
    now = datetime.now(UTC)
    ca = Authority.open(tmp_path, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(tmp_path, "apiserver")
    tls = Tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key", tmp_path / "ca.crt")
    async with api_server(store=EmbeddedStore(), clock=SystemClock(), rng=Random(1), tls=tls) as made:
        yield made


@pytest.fixture(params=["grpc", "local"])
async def asked(request: pytest.FixtureRequest, server: ApiServer, tmp_path: Path) -> AsyncIterator[Asked]:
    if request.param == "local":
        yield Asked(LocalClient(server.api, context=RequestContext))
        return
    ca, cert, key = ((tmp_path / name).read_bytes() for name in ("ca.crt", "apiserver.crt", "apiserver.key"))
    async with connect(f"127.0.0.1:{server.grpc_port}", ca=ca, cert=cert, key=key) as client:
        yield Asked(client)


def config_map(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"))


async def test_verbs_go_under_their_http_methods_with_the_codes_of_their_answers(asked: Asked) -> None:
    client = asked.client
    made = await client.create(config_map("a"))
    await client.get(ConfigMap, "a", "default")
    await client.list(ConfigMap)
    await client.update(replace(made, data={"k": "v"}))
    await client.patch(ConfigMap, "a", {"data": {"k": "w"}}, namespace="default")
    for error, refused in (
        (AlreadyExists, client.create(config_map("a"))),
        (NotFound, client.get(ConfigMap, "b", "default")),
        (Conflict, client.update(replace(made, data={"k": "late"}))),
        (NotFound, client.delete(ConfigMap, "b", "default")),
        (BadRequest, client.list(ConfigMap, label_selector="!!")),
    ):
        with pytest.raises(error):
            await refused
    await client.delete(ConfigMap, "a", "default")
    told = {
        (method, code): asked.number(method, code)
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
        for code in ("200", "201", "400", "404", "409")
    }
    assert {at: number for at, number in told.items() if number} == {
        ("GET", "200"): 2, ("GET", "404"): 1, ("GET", "400"): 1, ("POST", "201"): 1, ("POST", "409"): 1,
        ("PUT", "200"): 1, ("PUT", "409"): 1, ("PATCH", "200"): 1, ("DELETE", "200"): 1, ("DELETE", "404"): 1,
    }  # fmt: skip
    assert [asked.timed(verb) for verb in ("GET", "POST", "PUT", "PATCH", "DELETE")] == [4, 2, 2, 1, 2]


async def test_each_write_of_a_batch_is_a_request_and_the_trip_is_timed_once(asked: Asked) -> None:
    made = await asked.client.create(config_map("a"))
    results = await asked.client.batch(
        [Write("create", config_map(name)) for name in ("a", "b", "c")] + [Write("update", made)]
    )
    assert [isinstance(r.error, ApiError) for r in results] == [True, False, False, False]
    assert asked.number("POST", "201") == 1 + 2 and asked.number("POST", "409") == 1
    assert asked.number("PUT", "200") == 1
    assert asked.timed("POST") == 1 + 1 and asked.timed("PUT") == 1


async def test_a_watch_is_a_request_without_a_time(asked: Asked) -> None:
    listed = await asked.client.list(ConfigMap)
    async with aclosing(asked.client.watch(ConfigMap, resource_version=listed.resource_version)) as events:  # type: ignore[type-var]
        first = asyncio.ensure_future(anext(events))
        for name in ("a", "b"):
            await asked.client.create(config_map(name))
        await first
    assert asked.number("GET", "200") == 2 and asked.timed("GET") == 1
    with pytest.raises(BadRequest):
        async for _ in asked.client.watch(ConfigMap, resource_version=0, label_selector="!!"):
            pass
    assert asked.number("GET", "400") == 1


async def test_who_gives_no_answer_gave_no_code() -> None:
    async with connect("127.0.0.1:1", timeout=5) as nowhere:
        asked = Asked(nowhere, host="127.0.0.1:1")
        with pytest.raises(ServiceUnavailable):
            await asked.client.get(ConfigMap, "a", "default")
        with pytest.raises(ServiceUnavailable):
            await asked.client.batch([Write("create", config_map("a"))] * 3)
    assert asked.number("GET", "<error>") == 1 and asked.number("POST", "<error>") == 3
