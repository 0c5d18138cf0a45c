"""Subresources that are no plain view of their object: scale, binding, token; eviction.py is its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from controlplane.apiserver.auth.node import node_name
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.eviction import evict
from controlplane.apiserver.items import Item
from kubeapi import codec, patch
from kubeapi.errors import BadRequest, Conflict, Forbidden, NotFound
from kubeapi.meta import replace, set_condition
from kubeapi.scheme import SCHEME, Resource
from kubeapi.selectors import format_label_selector
from kubeapi.types import authentication_v1, autoscaling_v1, core_v1, meta_v1

if TYPE_CHECKING:
    from controlplane.apiserver.api import Api

MISSING = "the server could not find the requested resource"


async def create(
    api: Api, ctx: RequestContext, resource: Resource, namespace: str, name: str, subresource: str, obj: Any
) -> Item:
    """POST to a subresource. Raises NotFound for one that the resource does not have."""
    if resource.plural == "pods" and subresource == "binding":
        return await bind(api, ctx, resource, namespace, name, obj)
    if resource.plural == "pods" and subresource == "eviction":
        return await evict(api, ctx, resource, namespace, name, obj)
    if resource.plural == "serviceaccounts" and subresource == "token":
        return await token(api, ctx, resource, namespace, name, obj)
    raise NotFound(MISSING)


# ------------------------------------------------------------------ binding


async def bind(
    api: Api, ctx: RequestContext, resource: Resource, namespace: str, name: str, binding: core_v1.Binding
) -> Item:
    """Puts a pod on a node, once. Raises Conflict when it has one, or is being deleted."""
    target = binding.target.name
    if not target or binding.target.kind not in ("", "Node"):
        raise BadRequest("target: the kind must be Node, and its name is required")

    def mutate(pod: core_v1.Pod) -> core_v1.Pod:
        if pod.metadata.deletion_timestamp is not None:
            raise Conflict(f'pod "{name}" is being deleted, cannot be assigned to a host')
        if pod.spec.node_name:
            raise Conflict(f'pod "{name}" is already assigned to node "{pod.spec.node_name}"')
        if pod.spec.scheduling_gates:
            raise Conflict(f'pod "{name}" has non-empty .spec.schedulingGates')
        metadata = pod.metadata
        if binding.metadata.annotations:
            metadata = replace(metadata, annotations={**metadata.annotations, **binding.metadata.annotations})
        scheduled = core_v1.PodCondition(type="PodScheduled", status="True")
        conditions = set_condition(pod.status.conditions, scheduled, api.now())
        return replace(
            pod,
            metadata=metadata,
            spec=replace(pod.spec, node_name=target),
            status=replace(pod.status, conditions=conditions),
        )

    return await api.change(ctx, resource, namespace, name, mutate, whole=True)


# ------------------------------------------------------------------ token


async def token(
    api: Api,
    ctx: RequestContext,
    resource: Resource,
    namespace: str,
    name: str,
    request: authentication_v1.TokenRequest,
) -> Item:
    """A token of a service account. A node gets only such as are bound to a pod of its own. Raises Invalid, Forbidden."""
    if api.tokens is None:
        raise NotFound(MISSING)
    held = await api.get(ctx, resource, namespace, name)
    if node := node_name(ctx.who):
        ref = request.spec.bound_object_ref
        pods = SCHEME.by_plural("", "v1", "pods")
        if ref is None or ref.kind != "Pod" or not ref.uid or pods is None:
            raise Forbidden(f'node "{node}" requested token not bound to a pod')
        pod = await api.get(ctx, pods, namespace, ref.name)
        if pod.object.spec.node_name != node:
            raise Forbidden(f'node "{node}" requested token bound to a pod scheduled on a different node')
    issued = api.tokens.issue(held.object, request)
    metadata = replace(
        issued.metadata, name=name, namespace=namespace, creation_timestamp=api.now(), resource_version=""
    )
    return Item("", replace(issued, metadata=metadata), 0)


# ------------------------------------------------------------------ scale


def scale_of(obj: Any) -> autoscaling_v1.Scale:
    """The Scale of a workload. Raises NotFound for a kind without one."""
    spec, status = obj.spec, obj.status
    return autoscaling_v1.Scale(
        metadata=meta_v1.ObjectMeta(
            name=obj.metadata.name,
            namespace=obj.metadata.namespace,
            uid=obj.metadata.uid,
            resource_version=obj.metadata.resource_version,
            creation_timestamp=obj.metadata.creation_timestamp,
        ),
        spec=autoscaling_v1.ScaleSpec(replicas=spec.replicas if spec.replicas is not None else 1),
        status=autoscaling_v1.ScaleStatus(
            replicas=status.replicas, selector=format_label_selector(spec.selector) if spec.selector else ""
        ),
    )


async def get_scale(api: Api, ctx: RequestContext, resource: Resource, namespace: str, name: str) -> Item:
    if not resource.scale:
        raise NotFound(MISSING)
    held = await api.get(ctx, resource, namespace, name)
    return Item(held.key, scale_of(held.object), held.revision)


async def put_scale(
    api: Api, ctx: RequestContext, resource: Resource, namespace: str, name: str, scale: autoscaling_v1.Scale
) -> Item:
    if not resource.scale:
        raise NotFound(MISSING)
    if scale.spec.replicas < 0:
        raise BadRequest("spec.replicas: must be greater than or equal to 0")

    def mutate(old: Any) -> Any:
        asked = replace(old, spec=replace(old.spec, replicas=scale.spec.replicas))
        version = scale.metadata.resource_version or old.metadata.resource_version
        return replace(asked, metadata=replace(asked.metadata, resource_version=version))

    held = await api.change(ctx, resource, namespace, name, mutate)
    return Item(held.key, scale_of(held.object), held.revision)


async def patch_scale(
    api: Api,
    ctx: RequestContext,
    resource: Resource,
    namespace: str,
    name: str,
    body: Any,
    kind: Literal["strategic", "merge", "json"],
) -> Item:
    held = await get_scale(api, ctx, resource, namespace, name)
    plain = codec.to_builtins(held.object)
    merged = patch.json_patch(plain, body) if kind == "json" else patch.merge_patch(plain, body)
    scale = codec.from_builtins(autoscaling_v1.Scale, merged)
    return await put_scale(api, ctx, resource, namespace, name, scale)
