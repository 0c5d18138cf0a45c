"""Creating, changing and deleting on the memory store: what any client may rely on, whatever door it comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.context import RequestContext
from kubeapi import codec
from kubeapi.errors import AlreadyExists, BadRequest, Conflict, Forbidden, Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import apps_v1, autoscaling_v1, core_v1, discovery_v1, meta_v1, networking_v1
from tests.component.api_world import (
    CONFIG,
    CTX,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    config,
    deployment,
    memory_api,
    pod,
)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with memory_api() as made:
        yield made


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


PROTOCOL = 'protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"'
POLICY_RULE = networking_v1.NetworkPolicyIngressRule(ports=[networking_v1.NetworkPolicyPort(protocol="ICMP")])


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            core_v1.Pod(
                spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="i:1")], restart_policy="Often")
            ),
            'spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "Never", "OnFailure"',
        ),
        (
            core_v1.Service(spec=core_v1.ServiceSpec(ports=[core_v1.ServicePort(port=80, protocol="ICMP")])),
            f"spec.ports[0].{PROTOCOL}",
        ),
        (
            core_v1.Endpoints(subsets=[core_v1.EndpointSubset(ports=[core_v1.EndpointPort(port=1, protocol="ICMP")])]),
            f"subsets[0].ports[0].{PROTOCOL}",
        ),
        (
            discovery_v1.EndpointSlice(
                address_type="IPv4", ports=[discovery_v1.EndpointPort(port=80, protocol="ICMP")]
            ),
            f"ports[0].{PROTOCOL}",
        ),
        (
            networking_v1.NetworkPolicy(spec=networking_v1.NetworkPolicySpec(ingress=[POLICY_RULE])),
            f"spec.ingress[0].ports[0].{PROTOCOL}",
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
async def test_a_value_that_schema_and_strategy_refuse_is_told_once(api: Api, obj: Any, message: str) -> None:
    obj = replace(obj, metadata=meta_v1.ObjectMeta(name="x"))
    with pytest.raises(Invalid) as caught:
        await api.create(CTX, SCHEME.resource_of(type(obj)), "default", obj)
    assert str(caught.value).endswith(f'"x" is invalid: {message}')
    assert len(caught.value.causes) == 1


async def test_dry_run_stores_nothing(api: Api) -> None:
    await api.create(RequestContext(dry_run=True), CONFIG, "default", config("a"))
    with pytest.raises(NotFound):
        await api.get(CTX, CONFIG, "default", "a")


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


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": {"podIP": "here"}}, "status.podIP"),
        ({"status": {"phase": "Gone"}}, "status.phase"),
        ({"status": {"containerStatuses": [{"name": "c", "allocatedResources": {"cpu": "x"}}]}}, "status.containerStatuses[0].allocatedResources[cpu]"),
        ({"metadata": {"labels": {"a b": "c"}}}, "metadata.labels"),
        ({"metadata": {"annotations": {"a b": "c"}}}, "metadata.annotations"),
    ],
)  # fmt: skip
async def test_what_a_status_says_is_looked_at_too(api: Api, change: dict[str, Any], path: str) -> None:
    made = await api.create(CTX, PODS, "default", pod())
    with pytest.raises(Invalid) as refused:
        await api.patch(CTX, PODS, "default", "web", change, "merge", subresource="status")
    assert refused.value.causes[0].path == path
    assert (await api.get(CTX, PODS, "default", "web")).object == made.object


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
