"""What a pod refers to: ConfigMaps, Secrets, claims, fields of itself. Read on demand, kept for a short while.

Absent and not optional raises MissingReference, whose text goes into the pod's status or an event.
"""

from collections.abc import Mapping
from typing import TypeVar

from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import Forbidden, NotFound
from kubeapi.quantity import parse
from kubeapi.types.core_v1 import (
    ConfigMap,
    Container,
    ObjectFieldSelector,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ResourceFieldSelector,
    Secret,
)

T = TypeVar("T", ConfigMap, Secret, PersistentVolumeClaim, PersistentVolume)


class MissingReference(Exception):
    """Something that the pod needs is not there (yet)."""


class References:
    """Reads through a small cache: the many containers and retries of a node ask for the same few objects."""

    def __init__(self, client: Client, *, clock: Clock, fresh_for: float = 2.0) -> None:
        self._client = client
        self._clock = clock
        self._fresh_for = fresh_for
        self._kept: dict[tuple[type, str, str], tuple[float, object]] = {}

    async def find(self, type_: type[T], namespace: str, name: str) -> T | None:
        key, now = (type_, namespace, name), self._clock.monotonic()
        if (kept := self._kept.get(key)) is not None and now - kept[0] < self._fresh_for:
            return kept[1]  # type: ignore[return-value]
        found: T | None
        try:
            found = await self._client.get(type_, name, namespace)
        except (NotFound, Forbidden):
            found = None
        if len(self._kept) > 1000:
            self._kept.clear()
        self._kept[key] = (now, found)
        return found

    async def config_map(self, namespace: str, name: str, *, optional: bool | None = False) -> Mapping[str, bytes]:
        found = await self.find(ConfigMap, namespace, name)
        if found is None:
            if optional:
                return {}
            raise MissingReference(f'configmap "{name}" not found')
        return {**found.binary_data, **{key: text.encode() for key, text in found.data.items()}}

    async def secret(self, namespace: str, name: str, *, optional: bool | None = False) -> Mapping[str, bytes]:
        found = await self.find(Secret, namespace, name)
        if found is None:
            if optional:
                return {}
            raise MissingReference(f'secret "{name}" not found')
        return {**found.data, **{key: text.encode() for key, text in found.string_data.items()}}

    async def claimed(self, namespace: str, claim: str, *, owner: str = "") -> PersistentVolume:
        """`owner`: the uid of the pod that the claim must have been made for."""
        pvc = await self.find(PersistentVolumeClaim, namespace, claim)
        if pvc is None:
            raise MissingReference(f'persistentvolumeclaim "{claim}" not found')
        if owner and not any(ref.controller and ref.uid == owner for ref in pvc.metadata.owner_references):
            raise MissingReference(f'persistentvolumeclaim "{claim}" was not created for this pod')
        if not pvc.spec.volume_name or pvc.status.phase not in ("Bound", ""):
            raise MissingReference(f'persistentvolumeclaim "{claim}" is not bound')
        volume = await self.find(PersistentVolume, "", pvc.spec.volume_name)
        if volume is None:
            raise MissingReference(f'persistentvolume "{pvc.spec.volume_name}" not found')
        return volume


def field_value(pod: Pod, ref: ObjectFieldSelector, *, pod_ip: str, host_ip: str) -> str:
    """The downward API: one field of the pod, as text."""
    path = ref.field_path
    plain = {
        "metadata.name": pod.metadata.name,
        "metadata.namespace": pod.metadata.namespace,
        "metadata.uid": pod.metadata.uid,
        "spec.nodeName": pod.spec.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": host_ip,
        "status.hostIPs": host_ip,
        "status.podIP": pod_ip,
        "status.podIPs": pod_ip,
    }
    if path in plain:
        return plain[path]
    for name, table in (("labels", pod.metadata.labels), ("annotations", pod.metadata.annotations)):
        if path == f"metadata.{name}":
            return "".join(f'{key}="{_escaped(value)}"\n' for key, value in sorted(table.items()))
        if path.startswith(f"metadata.{name}['") and path.endswith("']"):
            return table.get(path[len(f"metadata.{name}['") : -2], "")
    raise MissingReference(f"unsupported field path {path!r}")


def resource_value(
    pod: Pod, ref: ResourceFieldSelector, *, default: Container | None, allocatable: Mapping[str, float]
) -> str:
    """A request or limit of a container; a limit that is not set is the node's allocatable amount."""
    name = ref.container_name
    wish = next((c for c in [*pod.spec.containers, *pod.spec.init_containers] if c.name == name), default)
    kind, _, resource = ref.resource.partition(".")
    if wish is None or kind not in ("limits", "requests"):
        raise MissingReference(f"unsupported resource {ref.resource!r} of container {name!r}")
    table = wish.resources.limits if kind == "limits" else {**wish.resources.limits, **wish.resources.requests}
    amount = table.get(resource)
    value = float(parse(amount)) if amount is not None else allocatable.get(resource, 0.0) if kind == "limits" else 0.0
    divisor = float(parse(ref.divisor)) if ref.divisor else 1.0
    return str(-int(-(value / (divisor or 1.0)) // 1))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
