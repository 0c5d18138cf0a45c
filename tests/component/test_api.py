"""The API core on the memory store: what any client may rely on, whatever door it comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import ApiEvent
from controlplane.apiserver.strategies.allocation import Allocator
from controlplane.storage.embedded import EmbeddedStore
from kubeapi import codec
from kubeapi.clock import LoopClock, SystemClock
from kubeapi.errors import AlreadyExists, BadRequest, Conflict, Expired, Forbidden, InternalError, Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import apps_v1, autoscaling_v1, core_v1, discovery_v1, meta_v1, networking_v1


def resource(kind: Any) -> Resource:
    return SCHEME.resource_of(kind)


PODS = resource(core_v1.Pod)
CONFIG = resource(core_v1.ConfigMap)
SERVICES = resource(core_v1.Service)
DEPLOYMENTS = resource(apps_v1.Deployment)
NAMESPACES = resource(core_v1.Namespace)
CTX = RequestContext()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=SystemClock(), rng=Random(7)) as core:
        yield core


def pod(name: str = "web", **labels: str) -> core_v1.Pod:
    return core_v1.Pod(
        metadata=meta_v1.ObjectMeta(name=name, labels=labels),
        spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="busybox:1")]),
    )


def config(name: str, **data: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name), data=data)


def deployment(**spec: Any) -> apps_v1.Deployment:
    labels = {"app": "web"}
    template = core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels=labels), spec=pod().spec)
    fields = {"selector": meta_v1.LabelSelector(match_labels=labels), "template": template} | spec
    return apps_v1.Deployment(metadata=meta_v1.ObjectMeta(name="web"), spec=apps_v1.DeploymentSpec(**fields))


async def take(events: AsyncIterator[Sequence[ApiEvent]], count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        async for batch in events:
            found += [(e.type, e.item.object.metadata.name if e.item else "") for e in batch]
            if len(found) >= count:
                break
    return found


# ------------------------------------------------------------------ create


async def test_create_fills_what_kubernetes_fills(api: Api) -> None:
    made = (await api.create(CTX, PODS, "default", pod())).object
    assert made.metadata.uid and made.metadata.creation_timestamp and made.metadata.namespace == "default"
    assert (made.status.phase, made.status.qos_class) == ("Pending", "BestEffort")
    assert made.spec.termination_grace_period_seconds == 30
    assert {t.key for t in made.spec.tolerations} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert (await api.get(CTX, PODS, "default", "web")).object == made


async def test_a_name_is_taken_once(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
        await api.create(CTX, CONFIG, "default", config("a"))


async def test_generated_names_differ(api: Api) -> None:
    wanted = core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(generate_name="web-"))
    names = {(await api.create(CTX, CONFIG, "default", wanted)).object.metadata.name for _ in range(20)}
    assert len(names) == 20 and all(name.startswith("web-") for name in names)


async def test_a_namespace_must_exist_and_live(api: Api) -> None:
    with pytest.raises(NotFound, match='namespaces "nope" not found'):
        await api.create(CTX, CONFIG, "nope", config("a"))
    await api.create(CTX, NAMESPACES, "", core_v1.Namespace(metadata=meta_v1.ObjectMeta(name="dying")))
    assert not (await api.delete(CTX, NAMESPACES, "", "dying")).gone
    with pytest.raises(Forbidden, match="being terminated"):
        await api.create(CTX, CONFIG, "dying", config("a"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replicas": -1}, "spec.replicas: Invalid value: -1: must be greater than or equal to 0"),
        ({"selector": None}, "spec.selector: Required value"),
        (
            {"selector": meta_v1.LabelSelector(match_labels={"app": "db"})},
            "`selector` does not match template `labels`",
        ),
        (
            {"strategy": apps_v1.DeploymentStrategy(type="Sideways")},
            'spec.strategy.type: Unsupported value: "Sideways": supported values: "Recreate", "RollingUpdate"',
        ),
        ({"template": core_v1.PodTemplateSpec()}, "spec.template.spec.containers: Required value"),
    ],
)
async def test_a_faulty_deployment_is_told_which_field(api: Api, change: dict[str, Any], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        await api.create(CTX, DEPLOYMENTS, "default", deployment(**change))
    assert message in str(caught.value)


async def test_dry_run_stores_nothing(api: Api) -> None:
    await api.create(RequestContext(dry_run=True), CONFIG, "default", config("a"))
    with pytest.raises(NotFound):
        await api.get(CTX, CONFIG, "default", "a")


# ------------------------------------------------------------------ update


async def test_an_update_at_an_old_version_conflicts(api: Api) -> None:
    first = (await api.create(CTX, CONFIG, "default", config("a", k="1"))).object
    await api.update(CTX, CONFIG, "default", "a", replace(first, data={"k": "2"}))
    with pytest.raises(Conflict, match="the object has been modified"):
        await api.update(CTX, CONFIG, "default", "a", replace(first, data={"k": "3"}))
    assert (await api.get(CTX, CONFIG, "default", "a")).object.data == {"k": "2"}


async def test_fifty_patches_at_once_all_count(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    patches = ({"data": {f"k{i}": "x"}} for i in range(50))
    await asyncio.gather(*(api.patch(CTX, CONFIG, "default", "a", p, "merge") for p in patches))
    assert len((await api.get(CTX, CONFIG, "default", "a")).object.data) == 50


async def test_an_unchanged_object_is_not_written(api: Api) -> None:
    first = await api.create(CTX, CONFIG, "default", config("a", k="1"))
    again = await api.patch(CTX, CONFIG, "default", "a", {"data": {"k": "1"}}, "merge")
    assert again.revision == first.revision


async def test_generation_counts_changes_of_spec_alone(api: Api) -> None:
    await api.create(CTX, DEPLOYMENTS, "default", deployment())
    labelled = await api.patch(CTX, DEPLOYMENTS, "default", "web", {"metadata": {"labels": {"a": "b"}}}, "merge")
    assert labelled.object.metadata.generation == 1
    scaled = await api.patch(CTX, DEPLOYMENTS, "default", "web", {"spec": {"replicas": 3}}, "merge")
    assert scaled.object.metadata.generation == 2
    status = {"status": {"replicas": 3}}
    told = await api.patch(CTX, DEPLOYMENTS, "default", "web", status, "merge", subresource="status")
    assert (told.object.metadata.generation, told.object.status.replicas) == (2, 3)


async def test_status_and_spec_are_written_apart(api: Api) -> None:
    made = (await api.create(CTX, DEPLOYMENTS, "default", deployment())).object
    both = replace(
        made, spec=replace(made.spec, replicas=5), status=replace(made.status, replicas=5), metadata=made.metadata
    )
    by_spec = (await api.update(CTX, DEPLOYMENTS, "default", "web", both)).object
    assert (by_spec.spec.replicas, by_spec.status.replicas) == (5, 0)
    at_new = replace(both, metadata=by_spec.metadata, spec=replace(made.spec, replicas=9))
    by_status = (await api.update(CTX, DEPLOYMENTS, "default", "web", at_new, subresource="status")).object
    assert (by_status.spec.replicas, by_status.status.replicas) == (5, 5)


async def test_scale(api: Api) -> None:
    await api.create(CTX, DEPLOYMENTS, "default", deployment(replicas=2))
    scale = autoscaling_v1.Scale(spec=autoscaling_v1.ScaleSpec(replicas=4))
    answer = await api.update(CTX, DEPLOYMENTS, "default", "web", scale, subresource="scale")
    assert (answer.object.kind, answer.object.spec.replicas, answer.object.status.selector) == ("Scale", 4, "app=web")
    patched = await api.patch(
        CTX, DEPLOYMENTS, "default", "web", {"spec": {"replicas": 1}}, "merge", subresource="scale"
    )
    assert patched.object.spec.replicas == 1


async def test_strict_validation_refuses_unknown_fields_of_a_patch_and_warn_only_warns(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    patch = {"dataa": {"k": "v"}}
    with pytest.raises(BadRequest, match='unknown field "dataa"'):
        await api.patch(RequestContext(field_validation="Strict"), CONFIG, "default", "a", patch, "merge")
    ctx = RequestContext()
    await api.patch(ctx, CONFIG, "default", "a", patch, "merge")
    assert ctx.warnings == ['unknown field "dataa"']


# ------------------------------------------------------------------ delete


async def test_a_scheduled_pod_is_marked_and_goes_when_its_node_lets_go(api: Api) -> None:
    await api.create(CTX, PODS, "default", pod())
    binding = core_v1.Binding(target=core_v1.ObjectReference(kind="Node", name="n1"))
    bound = await api.create(CTX, PODS, "default", binding, name="web", subresource="binding")
    assert bound.object.spec.node_name == "n1"
    with pytest.raises(Conflict, match="already assigned"):
        await api.create(CTX, PODS, "default", binding, name="web", subresource="binding")

    marked = await api.delete(CTX, PODS, "default", "web")
    assert not marked.gone and marked.item.object.metadata.deletion_grace_period_seconds == 30
    now = meta_v1.DeleteOptions(grace_period_seconds=0)
    assert (await api.delete(CTX, PODS, "default", "web", now)).gone


async def test_finalizers_keep_an_object_until_they_are_gone(api: Api) -> None:
    held = config("a")
    held = replace(held, metadata=replace(held.metadata, finalizers=["example.com/hold"]))
    await api.create(CTX, CONFIG, "default", held)
    assert not (await api.delete(CTX, CONFIG, "default", "a")).gone
    await api.patch(CTX, CONFIG, "default", "a", {"metadata": {"finalizers": None}}, "merge")
    with pytest.raises(NotFound):
        await api.get(CTX, CONFIG, "default", "a")


async def test_preconditions(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    options = meta_v1.DeleteOptions(preconditions=meta_v1.Preconditions(uid="other"))
    with pytest.raises(Conflict, match="Precondition failed: UID"):
        await api.delete(CTX, CONFIG, "default", "a", options)


async def test_propagation_becomes_a_finalizer(api: Api) -> None:
    await api.create(CTX, DEPLOYMENTS, "default", deployment())
    options = meta_v1.DeleteOptions(propagation_policy="Foreground")
    marked = await api.delete(CTX, DEPLOYMENTS, "default", "web", options)
    assert marked.item.object.metadata.finalizers == ["foregroundDeletion"]


# ------------------------------------------------------------------ lists and watches


async def test_chunks_make_the_whole_list(api: Api) -> None:
    for i in range(10):
        await api.create(CTX, CONFIG, "default", config(f"c{i}"))
    names, token = [], ""
    while True:
        page = await api.list(CTX, CONFIG, "default", limit=3, continue_=token)
        names += [item.object.metadata.name for item in page.items]
        if not (token := page.continue_):
            break
    assert names == [f"c{i}" for i in range(10)]
    with pytest.raises(BadRequest, match="continue key"):
        await api.list(CTX, CONFIG, "default", continue_="@@")


async def test_selectors(api: Api) -> None:
    await api.create(CTX, PODS, "default", pod("a", app="x"))
    await api.create(CTX, PODS, "default", pod("b", app="y"))
    labelled = await api.list(CTX, PODS, label_selector="app=x")
    assert [i.object.metadata.name for i in labelled.items] == ["a"]
    named = await api.list(CTX, PODS, field_selector="metadata.name!=a,status.phase=Pending")
    assert [i.object.metadata.name for i in named.items] == ["b"]
    with pytest.raises(BadRequest, match="field label not supported"):
        await api.list(CTX, PODS, field_selector="spec.colour=red")


async def test_a_watch_shows_every_change_after_its_version_once(api: Api) -> None:
    start = (await api.list(CTX, CONFIG, "default")).revision
    events = api.watch(CTX, CONFIG, "default", resource_version=str(start))
    await api.create(CTX, CONFIG, "default", config("a"))
    await api.patch(CTX, CONFIG, "default", "a", {"data": {"k": "v"}}, "merge")
    await api.create(CTX, CONFIG, "kube-system", config("elsewhere"))
    await api.delete(CTX, CONFIG, "default", "a")
    assert await take(events, 3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_an_object_that_begins_or_ceases_to_fit_is_added_or_deleted(api: Api) -> None:
    start = (await api.list(CTX, CONFIG, "default")).revision
    events = api.watch(CTX, CONFIG, "default", label_selector="show=yes", resource_version=str(start))
    await api.create(CTX, CONFIG, "default", config("a"))
    for value in ("yes", "no"):
        await api.patch(CTX, CONFIG, "default", "a", {"metadata": {"labels": {"show": value}}}, "merge")
    assert await take(events, 2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    assert await take(api.watch(CTX, CONFIG, "default"), 1) == [("ADDED", "a")]
    watch_list = api.watch(CTX, CONFIG, "default", send_initial_events=True)
    assert await take(watch_list, 2) == [("ADDED", "a"), ("BOOKMARK", "")]


async def test_a_version_from_before_the_history_is_expired() -> None:
    store = EmbeddedStore()
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as core:
        await core.create(CTX, CONFIG, "default", config("a"))
    await store.compact(await store.revision())
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as again:
        with pytest.raises(Expired, match="too old resource version"):
            await take(again.watch(CTX, CONFIG, "default", resource_version="1"), 1)


# ------------------------------------------------------------------ services


def service(name: str, **spec: Any) -> core_v1.Service:
    port = core_v1.ServicePort(port=80)
    return core_v1.Service(
        metadata=meta_v1.ObjectMeta(name=name), spec=core_v1.ServiceSpec(**({"ports": [port]} | spec))
    )


async def test_addresses_and_node_ports_are_given_once_and_given_back(api: Api) -> None:
    first = (await api.create(CTX, SERVICES, "default", service("a", type="NodePort"))).object
    assert 30000 <= first.spec.ports[0].node_port <= 32767 and first.spec.ports[0].target_port == 80
    with pytest.raises(Invalid, match="provided IP is already allocated"):
        await api.create(CTX, SERVICES, "default", service("b", cluster_ip=first.spec.cluster_ip))
    await api.delete(CTX, SERVICES, "default", "a")
    second = await api.create(CTX, SERVICES, "default", service("b", cluster_ip=first.spec.cluster_ip))
    assert second.object.spec.cluster_ip == first.spec.cluster_ip
    headless = await api.create(CTX, SERVICES, "default", service("h", cluster_ip="None"))
    assert headless.object.spec.cluster_ip == "None"


async def test_stored_json_is_what_clients_read(api: Api) -> None:
    item = await api.create(CTX, PODS, "default", pod())
    assert codec.decode(core_v1.Pod, item.json) == item.object
    assert item.object.metadata.resource_version == str(item.revision)


async def test_a_node_affinity_that_nothing_can_read_is_refused(api: Api) -> None:
    requirement = core_v1.NodeSelectorRequirement(key="cores", operator="Gt", values=[])
    term = core_v1.NodeSelectorTerm(match_expressions=[requirement])
    wanted = core_v1.NodeAffinity(
        required_during_scheduling_ignored_during_execution=core_v1.NodeSelector(node_selector_terms=[term])
    )
    faulty = pod()
    faulty = replace(faulty, spec=replace(faulty.spec, affinity=core_v1.Affinity(node_affinity=wanted)))
    with pytest.raises(Invalid, match="Gt takes exactly one value"):
        await api.create(CTX, PODS, "default", faulty)


# ------------------------------------------------------------------ service addresses


async def test_the_service_kubernetes_has_the_first_address_and_the_servers_endpoints(api: Api) -> None:
    held = (await api.get(CTX, SERVICES, "default", "kubernetes")).object
    assert held.spec.cluster_ips == ["10.96.0.1"]
    with pytest.raises(Invalid, match="already allocated"):
        await api.create(CTX, SERVICES, "default", service("thief", cluster_ip="10.96.0.1"))
    for kind in (core_v1.Endpoints, discovery_v1.EndpointSlice):
        assert (await api.get(CTX, resource(kind), "default", "kubernetes")).object


async def test_two_servers_on_one_store_never_give_an_address_or_a_port_twice() -> None:
    store = EmbeddedStore()
    async with (
        api_core(store=store, clock=SystemClock(), rng=Random(5), service_cidr="10.9.0.0/26") as a,
        api_core(store=store, clock=SystemClock(), rng=Random(5), service_cidr="10.9.0.0/26") as b,
    ):
        wanted = [
            core.create(CTX, SERVICES, "default", service(f"s{n}{side}", type="NodePort"))
            for n in range(20)
            for side, core in (("a", a), ("b", b))
        ]
        made = [item.object.spec for item in await asyncio.gather(*wanted)]
        assert len({spec.cluster_ip for spec in made}) == len({spec.ports[0].node_port for spec in made}) == 40
        with pytest.raises(InternalError, match="no address is left"):
            for n in range(40):
                await a.create(CTX, SERVICES, "default", service(f"more{n}"))


async def test_servers_that_start_together_make_what_every_cluster_has_once() -> None:
    store = EmbeddedStore()

    async def start(stack: AsyncExitStack) -> Api:
        return await stack.enter_async_context(api_core(store=store, clock=SystemClock(), rng=Random(5)))

    async with AsyncExitStack() as one, AsyncExitStack() as two:
        a, b = await asyncio.gather(start(one), start(two))
        held = [(await core.get(CTX, SERVICES, "default", "kubernetes")).object for core in (a, b)]
        assert held[0] == held[1] and held[0].spec.cluster_ip == "10.96.0.1"
        assert (await b.get(CTX, resource(networking_v1.IPAddress), "", "10.96.0.1")).object


async def test_a_failed_create_and_a_change_of_type_give_back_what_was_taken(api: Api) -> None:
    await api.create(CTX, SERVICES, "default", service("a", type="NodePort"))
    addresses = resource(networking_v1.IPAddress)
    before = {i.object.metadata.name for i in (await api.list(CTX, addresses)).items}
    await asyncio.gather(
        *(api.create(CTX, SERVICES, "default", service("b", type="NodePort")) for _ in range(3)), return_exceptions=True
    )
    after = {i.object.metadata.name for i in (await api.list(CTX, addresses)).items}
    assert len(after - before) == 1
    port = (await api.get(CTX, SERVICES, "default", "a")).object.spec.ports[0].node_port
    plain = await api.patch(CTX, SERVICES, "default", "a", {"spec": {"type": "ClusterIP"}}, "merge")
    assert plain.object.spec.ports[0].node_port == 0
    again = service("c", type="NodePort")
    ports = [replace(again.spec.ports[0], node_port=port)]
    await api.create(CTX, SERVICES, "default", replace(again, spec=replace(again.spec, ports=ports)))


async def test_what_a_dead_server_left_behind_is_given_back_at_the_next_start() -> None:
    store, old = EmbeddedStore(), core_v1.Service(metadata=meta_v1.ObjectMeta(name="x", namespace="default"))
    then = LoopClock(datetime(2020, 1, 1, tzinfo=UTC))
    await Allocator(store=store, cidr="10.96.0.0/16", clock=then, rng=Random(1)).take_address("10.96.7.7", old)
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as api:
        assert (await api.create(CTX, SERVICES, "default", service("a", cluster_ip="10.96.7.7"))).revision


async def test_chunks_and_exact_versions_show_one_moment_whatever_is_written_meanwhile(api: Api) -> None:
    for name in "abcd":
        await api.create(CTX, CONFIG, "default", config(name, k="1"))
    first = await api.list(CTX, CONFIG, "default", limit=2)
    await api.create(CTX, CONFIG, "default", config("cc"))
    await api.patch(CTX, CONFIG, "default", "c", {"data": {"k": "2"}}, "merge")
    await api.delete(CTX, CONFIG, "default", "d")
    rest = await api.list(CTX, CONFIG, "default", continue_=first.continue_)
    assert [(i.object.metadata.name, i.object.data) for i in rest.items] == [("c", {"k": "1"}), ("d", {"k": "1"})]
    at = str(first.revision)
    then = await api.list(CTX, CONFIG, "default", resource_version=at, resource_version_match="Exact")
    assert [i.object.metadata.name for i in then.items] == ["a", "b", "c", "d"] and then.revision == first.revision
    assert all(int(i.object.metadata.resource_version) <= first.revision for i in then.items)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"resource_version_match": "Exact"}, "forbidden unless resourceVersion is provided"),
        ({"resource_version_match": "Exact", "resource_version": "0"}, 'forbidden for resourceVersion "0"'),
        ({"resource_version_match": "Nearly", "resource_version": "1"}, 'Unsupported value: "Nearly"'),
        ({"resource_version": "5", "continue_": "x"}, "not allowed when using continue"),
    ],
)
async def test_versions_that_do_not_fit_are_refused(api: Api, wish: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await api.list(CTX, CONFIG, "default", **wish)  # type: ignore[arg-type]


async def test_ephemeral_containers_are_added_and_never_changed(api: Api) -> None:
    await api.create(CTX, PODS, "default", pod())

    async def put(*containers: dict[str, str]) -> core_v1.Pod:
        patch = {"spec": {"ephemeralContainers": list(containers), "nodeName": "elsewhere"}}
        item = await api.patch(CTX, PODS, "default", "web", patch, "merge", subresource="ephemeralcontainers")
        return item.object  # type: ignore[no-any-return]

    debug = {"name": "debug", "image": "busybox:1", "targetContainerName": "c"}
    made = await put(debug)
    assert made.spec.ephemeral_containers[0].image_pull_policy == "IfNotPresent" and not made.spec.node_name
    with pytest.raises(Invalid, match="may not be changed or removed"):
        await put({**debug, "image": "other:1"})
    with pytest.raises(Invalid, match=r"spec.ephemeralContainers\[1\].name: Duplicate value"):
        await put(debug, {"name": "c", "image": "busybox:1"})


@pytest.mark.parametrize("sub", ["finalize", "ephemeralcontainers", "nothing"])
async def test_a_subresource_that_a_kind_has_not_is_not_found(api: Api, sub: str) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    with pytest.raises(NotFound):
        await api.update(CTX, CONFIG, "default", "a", config("a"), subresource=sub)


async def test_a_collection_is_deleted_as_the_selector_says(api: Api) -> None:
    for n in range(150):
        made = config(f"c{n}")
        labels = {"odd": str(n % 2)}
        await api.create(CTX, CONFIG, "default", replace(made, metadata=replace(made.metadata, labels=labels)))
    await api.delete_collection(CTX, CONFIG, "default", label_selector="odd=1")
    left = (await api.list(CTX, CONFIG, "default")).items
    assert len(left) == 75 and all(i.object.metadata.labels == {"odd": "0"} for i in left)


async def test_what_was_deleted_a_moment_ago_may_be_made_again(api: Api) -> None:
    for _ in range(20):
        await api.create(CTX, CONFIG, "default", config("again"))
        await api.delete(CTX, CONFIG, "default", "again")
