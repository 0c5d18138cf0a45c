"""What any client may rely on, through each door: HTTP and JSON, gRPC, and none at all (in the server's process)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.server import Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.grpc_client import connect
from kubeapi.client.interface import WatchEvent
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.errors import AlreadyExists, BadRequest, Conflict, Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.pki import Authority
from kubeapi.types.apps_v1 import Deployment, DeploymentSpec
from kubeapi.types.core_v1 import ConfigMap, Container, Namespace, Pod, PodSpec, PodTemplateSpec
from kubeapi.types.meta_v1 import LabelSelector, ObjectMeta
from tests.support.http_client import HttpClient


@pytest.fixture(params=["http", "grpc", "local"])
async def client(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    now, store = datetime.now(UTC), EmbeddedStore()
    ca = Authority.open(tmp_path, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(tmp_path, "apiserver")
    me = ca.client("admin", ["system:masters"], now=now)
    me.save(tmp_path, "admin")
    tls = Tls(tmp_path / "apiserver.crt", tmp_path / "apiserver.key", tmp_path / "ca.crt")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        server = await stack.enter_async_context(api_server(store=store, clock=SystemClock(), rng=Random(1), tls=tls))
        if request.param == "http":
            context = ssl.create_default_context(cadata=ca.cert.decode())
            context.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")
            yield HttpClient(server.port, context)
        elif request.param == "grpc":
            address = f"127.0.0.1:{server.grpc_port}"
            yield await stack.enter_async_context(connect(address, ca=ca.cert, cert=me.cert, key=me.key))
        else:
            yield LocalClient(server.api, context=RequestContext)


def config(name: str, labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default", labels=labels or {}), data=data)


def pod(name: str = "web") -> Pod:
    spec = PodSpec(containers=[Container(name="c", image="i:1")])
    return Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=spec)


async def test_what_is_created_is_defaulted_and_read_back(client: Any) -> None:
    made = await client.create(pod())
    assert made.metadata.uid and made.metadata.creation_timestamp and made.metadata.resource_version
    assert (made.spec.restart_policy, made.status.phase) == ("Always", "Pending")
    assert await client.get(Pod, "web", "default") == made
    with pytest.raises(AlreadyExists, match='pods "web" already exists'):
        await client.create(pod())
    with pytest.raises(NotFound, match='pods "other" not found'):
        await client.get(Pod, "other", "default")


async def test_a_faulty_object_is_refused_by_the_paths_of_its_fields(client: Any) -> None:
    with pytest.raises(Invalid) as refused:
        await client.create(replace(pod(), spec=PodSpec(containers=[], restart_policy="Often")))
    assert {cause["field"] for cause in refused.value.status()["details"]["causes"]} == {
        "spec.containers",
        "spec.restartPolicy",
    }


async def test_an_update_is_at_the_version_that_was_read(client: Any) -> None:
    first = await client.create(config("a", k="1"))
    second = await client.update(replace(first, data={"k": "2"}))
    assert int(second.metadata.resource_version) > int(first.metadata.resource_version)
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.update(replace(first, data={"k": "3"}))
    assert (await client.update(second)).metadata.resource_version == second.metadata.resource_version
    with pytest.raises(NotFound):
        await client.update(config("b"))


async def test_the_three_patches(client: Any) -> None:
    labels = {"app": "web"}
    template = PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=pod().spec)
    spec = DeploymentSpec(selector=LabelSelector(match_labels=labels), template=template)
    await client.create(Deployment(metadata=ObjectMeta(name="web", namespace="default"), spec=spec))
    added = {"spec": {"template": {"spec": {"containers": [{"name": "d", "image": "i:2"}]}}}}
    found = await client.patch(Deployment, "web", added, kind="strategic", namespace="default")
    assert {c.name for c in found.spec.template.spec.containers} == {"c", "d"}
    found = await client.patch(Deployment, "web", added, kind="merge", namespace="default")
    assert [c.name for c in found.spec.template.spec.containers] == ["d"]
    steps = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 4},
    ]
    found = await client.patch(Deployment, "web", steps, kind="json", namespace="default")
    assert (found.spec.replicas, found.metadata.generation) == (4, 4)
    with pytest.raises((Invalid, BadRequest)):
        await client.patch(Deployment, "web", steps, kind="json", namespace="default")


async def test_status_and_spec_are_written_apart(client: Any) -> None:
    made = await client.create(pod())
    running = replace(
        made, status=replace(made.status, phase="Running"), metadata=replace(made.metadata, labels={"x": "y"})
    )
    assert (await client.update(running)).status.phase == "Pending"
    now = await client.get(Pod, "web", "default")
    told = await client.update(replace(now, status=running.status, spec=PodSpec()), subresource="status")
    assert (told.status.phase, len(told.spec.containers), told.metadata.labels) == ("Running", 1, {"x": "y"})


async def test_lists_by_label_by_field_and_in_chunks(client: Any) -> None:
    for n in range(7):
        await client.create(config(f"c{n}", {"odd": str(n % 2)}))
    assert [c.metadata.name for c in (await client.list(ConfigMap, "default", label_selector="odd=1")).items] == [
        "c1",
        "c3",
        "c5",
    ]
    found = await client.list(ConfigMap, "default", field_selector="metadata.name=c4")
    assert [c.metadata.name for c in found.items] == ["c4"]
    with pytest.raises(BadRequest, match="field label not supported"):
        await client.list(ConfigMap, "default", field_selector="data.k=1")
    names, token, versions = list[str](), "", set[int]()
    while True:
        page = await client.list(ConfigMap, "default", limit=3, next=token)
        names += [c.metadata.name for c in page.items]
        versions.add(page.resource_version)
        if not (token := page.next):
            break
        await client.create(config(f"later-{len(names)}"))
    assert names == [f"c{n}" for n in range(7)] and len(versions) == 1


async def test_a_watch_tells_every_change_after_its_version_once(client: Any) -> None:
    await client.create(config("before"))
    start = (await client.list(ConfigMap, "default")).resource_version

    async def follow() -> list[tuple[str, str]]:
        seen: list[WatchEvent[ConfigMap]] = []
        async for batch in client.watch(ConfigMap, "default", resource_version=start, label_selector="team=a"):
            seen += [event for event in batch if event.type != "BOOKMARK"]
            if len(seen) == 3:
                break
        assert sorted(e.resource_version for e in seen) == [e.resource_version for e in seen]
        return [(e.type, e.object.metadata.name) for e in seen]

    following = asyncio.create_task(follow())
    made = await client.create(config("a", {"team": "a"}))
    await client.create(config("b", {"team": "b"}))
    await client.update(replace(made, data={"k": "v"}))
    await client.patch(ConfigMap, "a", {"metadata": {"labels": {"team": "b"}}}, namespace="default")
    async with asyncio.timeout(10):
        assert await following == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_deletion_with_preconditions_grace_and_finalizers(client: Any) -> None:
    made = await client.create(config("a"))
    with pytest.raises(Conflict, match="UID"):
        await client.delete(ConfigMap, "a", "default", uid="another")
    await client.delete(ConfigMap, "a", "default", uid=made.metadata.uid)
    with pytest.raises(NotFound):
        await client.get(ConfigMap, "a", "default")
    held = config("held")
    await client.create(replace(held, metadata=replace(held.metadata, finalizers=["example.com/x"])))
    await client.delete(ConfigMap, "held", "default")
    waiting = await client.get(ConfigMap, "held", "default")
    assert waiting.metadata.deletion_timestamp is not None
    await client.update(replace(waiting, metadata=replace(waiting.metadata, finalizers=[])))
    with pytest.raises(NotFound):
        await client.get(ConfigMap, "held", "default")


async def test_names_are_made_and_namespaces_must_be_there(client: Any) -> None:
    made = await client.create(ConfigMap(metadata=ObjectMeta(generate_name="c-", namespace="default")))
    assert made.metadata.name.startswith("c-") and len(made.metadata.name) == 7
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="nowhere")))
    await client.create(Namespace(metadata=ObjectMeta(name="somewhere")))
    await client.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="somewhere")))
