"""What every cluster has from its first second: system namespaces, the `kubernetes` service, priority and storage classes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from controlplane.apiserver.api import Api
from controlplane.apiserver.auth import defaults
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.registry import key_of
from kubeapi.errors import AlreadyExists, Conflict, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1, networking_v1, scheduling_v1, storage_v1

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
LOCAL_PATH = "sampan.dev/local-path"
"""The provisioner that needs nothing but a directory of the node; the volume controller serves it."""
PRIORITIES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}


async def bootstrap(api: Api, *, port: int, service_cidr: str, first: str) -> None:
    """Creates what is missing; safe at every start. Who is behind the service is told by members.py.

    `first` is the reserved first address of the service range: the API server's certificate names it.
    """
    for name in NAMESPACES:
        await _ensure(api, core_v1.Namespace(metadata=meta_v1.ObjectMeta(name=name)))
    for name, value in PRIORITIES.items():
        await _ensure(api, scheduling_v1.PriorityClass(metadata=meta_v1.ObjectMeta(name=name), value=value))
    await _roles(api)
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    await _ensure(
        api,
        storage_v1.StorageClass(
            metadata=meta_v1.ObjectMeta(name="local-path", annotations=default),
            provisioner=LOCAL_PATH,
            volume_binding_mode="WaitForFirstConsumer",
        ),
    )
    await _ensure(
        api,
        networking_v1.ServiceCIDR(
            metadata=meta_v1.ObjectMeta(name="kubernetes"), spec=networking_v1.ServiceCIDRSpec(cidrs=[service_cidr])
        ),
    )
    labels = {"component": "apiserver", "provider": "kubernetes"}
    await _ensure(
        api,
        core_v1.Service(
            metadata=meta_v1.ObjectMeta(name="kubernetes", namespace="default", labels=labels),
            spec=core_v1.ServiceSpec(
                cluster_ip=first, ports=[core_v1.ServicePort(name="https", port=443, target_port=port)]
            ),
        ),
    )


async def _roles(api: Api) -> None:
    """The default roles; rules and subjects that somebody took away are put back (see auth/defaults.py)."""
    wanted: list[Any] = [*defaults.cluster_roles(), *defaults.cluster_role_bindings()]
    await asyncio.gather(*(_reconcile(api, obj) for obj in wanted))
    await api.cache.fresh()


async def _reconcile(api: Api, obj: Any) -> None:
    resource = SCHEME.resource_of(obj)
    held = api.cache.get(key_of(resource, "", obj.metadata.name))
    if held is None:
        with suppress(AlreadyExists):
            await api.create(RequestContext(), resource, "", obj)
        return
    field = "rules" if hasattr(obj, "rules") else "subjects"
    missing = [one for one in getattr(obj, field) if one not in getattr(held.object, field)]
    if missing and held.object.metadata.annotations.get(defaults.AUTOUPDATE) == "true":
        changed = replace(held.object, **{field: [*getattr(held.object, field), *missing]})
        with suppress(Conflict, NotFound):  # another server was quicker
            await api.update(RequestContext(), resource, "", obj.metadata.name, changed)


async def _ensure(api: Api, obj: object) -> None:
    resource = SCHEME.resource_of(obj)
    namespace = obj.metadata.namespace  # type: ignore[attr-defined]
    try:
        await api.create(RequestContext(), resource, namespace, obj)
    except AlreadyExists:
        return
    await api.cache.fresh()
