"""How a cached object is named, by its key; and functions that find keys and index values of an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from kubeapi.types.meta_v1 import ObjectMeta, OwnerReference


class Key(NamedTuple):
    namespace: str
    """Empty for cluster-scoped objects."""
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


class KubeObject(Protocol):
    @property
    def metadata(self) -> ObjectMeta: ...


def key_of(obj: KubeObject) -> Key:
    return Key(obj.metadata.namespace, obj.metadata.name)


def revision_of(obj: KubeObject) -> int:
    """The resourceVersion as a number; 0 when the object has none."""
    return int(obj.metadata.resource_version or 0)


def controller_of(obj: KubeObject) -> OwnerReference | None:
    return next((ref for ref in obj.metadata.owner_references if ref.controller), None)


def owner_key(kind: str) -> Callable[[Any], Key | None]:
    """Maps an object to the key of its controller, if of this kind (owners live in the same namespace)."""

    def find(obj: KubeObject) -> Key | None:
        ref = controller_of(obj)
        return Key(obj.metadata.namespace, ref.name) if ref is not None and ref.kind == kind else None

    return find


def by_namespace(obj: KubeObject) -> Iterable[str]:
    return (obj.metadata.namespace,)


def by_controller(obj: KubeObject) -> Iterable[str]:
    """The uid of the controlling owner."""
    ref = controller_of(obj)
    return (ref.uid,) if ref is not None else ()


def by_owner(obj: KubeObject) -> Iterable[str]:
    """The uids of all owners."""
    return {ref.uid: None for ref in obj.metadata.owner_references}


def by_node(pod: Any) -> Iterable[str]:
    """The node that a pod is bound to; unbound pods are under the empty name."""
    return (pod.spec.node_name,)
