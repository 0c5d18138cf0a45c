"""Odd requests at both doors: an answer always, a 500 and a logged exception never."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from random import Random
from typing import Any
from urllib.parse import quote

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.apiserver.auth.attributes import User
from controlplane.apiserver.build import api_core
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.grpc import GrpcDoor
from controlplane.apiserver.doors.http import HttpDoor
from controlplane.apiserver.doors.http_messages import Reply, Request
from controlplane.apiserver.doors.metrics import Metrics
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import api_pb2_grpc
from kubeapi.scheme import SCHEME, Resource
from tests.support.odd_objects import object_of

ADMIN = User("admin", ("system:masters",))
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
)
RESOURCES = sorted(SCHEME.resources, key=lambda r: (r.group, r.version, r.plural))


@pytest.fixture
async def doors(caplog: pytest.LogCaptureFixture) -> AsyncIterator[tuple[HttpDoor, Any]]:
    caplog.set_level(logging.ERROR)
    clock = SystemClock()
    async with api_core(store=EmbeddedStore(), clock=clock, rng=Random(1)) as api:
        calls = Calls(api, authenticator=api.authenticator, authorizer=api.authorizer)
        http = HttpDoor(calls, sessions=None, metrics=Metrics(), clock=clock, ready=lambda: True)
        server = grpc.aio.server()
        door = GrpcDoor(calls, sessions=None, metrics=Metrics(), clock=clock, insecure_user=ADMIN)
        api_pb2_grpc.add_ApiServerServicer_to_server(door, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield http, api_pb2_grpc.ApiServerStub(channel)
        await server.stop(0)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def ask(door: HttpDoor, method: str, target: str, body: bytes = b"", **headers: str) -> Reply:
    named = {k.replace("_", "-").lower(): v for k, v in headers.items()}
    reply = await door.handle(Request(method, target, named, body, ADMIN))
    if not isinstance(reply.body, bytes):
        await reply.body.aclose()
    assert reply.status != 500, (method, target, body[:2000], reply.body)
    return reply


PATCHES = (
    "application/strategic-merge-patch+json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)


@EXAMPLES
@given(rng=st.randoms(use_true_random=False), resource=st.sampled_from(RESOURCES))
async def test_objects_with_any_values_in_any_field(
    doors: tuple[HttpDoor, Any], rng: Random, resource: Resource
) -> None:
    http, stub = doors
    for _ in range(3):
        made = object_of(resource, rng)
        body = json.dumps(made).encode()
        base = resource.path("default")
        dry = rng.choice(["", "?dryRun=All", "?fieldValidation=Strict"])
        await ask(http, "POST", base + dry, body)
        await ask(http, "PUT", f"{base}/a{dry}", body)
        await ask(http, "PUT", f"{base}/a/{rng.choice(['status', 'scale', 'finalize', 'token', 'x'])}", body)
        patch = json.dumps(
            rng.choice([made, [], {}, None, [{"op": "add", "path": "/spec", "value": made.get("spec")}]])
        )
        await ask(http, "PATCH", f"{base}/a", patch.encode(), Content_Type=rng.choice(PATCHES))
        for accept in (
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "application/vnd.kubernetes.protobuf",
            "application/yaml",
        ):
            await ask(http, "GET", base, Accept=accept)
        type_ = pb.TypeRef(group=resource.group, version=resource.version, resource=resource.plural)
        request = pb.CreateRequest(type=type_, namespace="default", object=body)
        try:
            await stub.Create(request)
            await stub.Table(pb.TableRequest(type=type_, namespace="default"))
        except grpc.aio.AioRpcError as error:
            assert error.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL), (made, error.details())
    await ask(http, "DELETE", f"{base}/a?gracePeriodSeconds=0")


SEGMENTS = st.sampled_from(
    ["api", "apis", "v1", "apps", "namespaces", "default", "pods", "deployments", "a", "status", "scale", "", "..", "%00", "%2f",
     "watch", "openapi", "v2", "v3", "exec", "é", "x" * 300, "healthz", "batch", "jobs", "token", "metrics", "events.k8s.io", "events"]
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        ["watch", "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "dryRun",
         "fieldValidation", "timeoutSeconds", "sendInitialEvents", "allowWatchBookmarks", "includeObject", "pretty",
         "propagationPolicy", "gracePeriodSeconds", "orphanDependents", "force"]
    ),
    st.one_of(st.text(max_size=12), st.sampled_from(["1", "0", "-1", "true", "All", "a=b", "Exact", "NotOlderThan", "9" * 25])),
    max_size=4,
)  # fmt: skip


@settings(EXAMPLES, max_examples=200)
@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "é"]),
    segments=st.lists(SEGMENTS, max_size=8),
    query=QUERIES,
    body=st.one_of(st.binary(max_size=60), st.sampled_from([b"{}", b"[]", b"k8s\x00", b"null", b"[" * 5000, b"&a [*a]", b"<<: 1"])),
    content=st.sampled_from(["", "application/json", "application/yaml", "application/vnd.kubernetes.protobuf", "x", *PATCHES]),
    accept=st.sampled_from(["", "*/*", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json;q=x", "é",
                            "application/json;as=Table;g=meta.k8s.io;v=v1", "text/html,*/*;q=0.1"]),
)  # fmt: skip
async def test_any_path_query_and_body(
    doors: tuple[HttpDoor, Any],
    method: str,
    segments: list[str],
    query: dict[str, str],
    body: bytes,
    content: str,
    accept: str,
) -> None:
    target = "/" + "/".join(segments)
    if query:
        target += "?" + "&".join(f"{k}={quote(v, errors='replace')}" for k, v in query.items())
    await ask(doors[0], method, target, body, Content_Type=content, Accept=accept)
