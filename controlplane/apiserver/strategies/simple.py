"""Kinds with little behaviour of their own: namespaces, nodes, configuration, events, leases, accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from controlplane.apiserver.strategy import METADATA_FIELDS, Strategy
from controlplane.apiserver.validation import CONFIG_KEY, forbidden, immutable, invalid, network_faults, required
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.remembered import by_text
from kubeapi.types import core_v1

CONFIG_MOST = 1024 * 1024
"""Bytes that a ConfigMap or a Secret may hold."""


class NamespaceStrategy(Strategy):
    name_rule = "label"
    fields: ClassVar = {**METADATA_FIELDS, "status.phase": lambda o: o.status.phase}

    def default(self, obj: core_v1.Namespace) -> core_v1.Namespace:
        labels = {**obj.metadata.labels, "kubernetes.io/metadata.name": obj.metadata.name}
        return replace(obj, metadata=replace(obj.metadata, labels=labels))

    def prepare_create(self, obj: core_v1.Namespace) -> core_v1.Namespace:
        finalizers = obj.spec.finalizers or ["kubernetes"]
        return replace(
            obj, spec=replace(obj.spec, finalizers=finalizers), status=core_v1.NamespaceStatus(phase="Active")
        )

    def prepare_update(self, new: core_v1.Namespace, old: core_v1.Namespace) -> core_v1.Namespace:
        return replace(new, spec=old.spec, status=old.status)


class NodeStrategy(Strategy):
    fields: ClassVar = {**METADATA_FIELDS, "spec.unschedulable": lambda o: str(o.spec.unschedulable).lower()}

    def prepare_create(self, obj: core_v1.Node) -> core_v1.Node:
        return obj  # a node agent registers its node with its status

    def validate(self, obj: core_v1.Node) -> Iterator[FieldError]:
        """Whoever gives out networks, and the overlay of every other node, reads these."""
        if obj.spec.pod_cidr:
            yield from network_faults("spec.podCIDR", obj.spec.pod_cidr)
        for i, cidr in enumerate(obj.spec.pod_cidrs):
            yield from network_faults(f"spec.podCIDRs[{i}]", cidr)
        if obj.spec.pod_cidrs and obj.spec.pod_cidr != obj.spec.pod_cidrs[0]:
            yield invalid("spec.podCIDRs[0]", obj.spec.pod_cidrs[0], "must match `podCIDR`")

    def validate_update(self, new: core_v1.Node, old: core_v1.Node) -> Iterator[FieldError]:
        if old.spec.pod_cidr and new.spec.pod_cidr != old.spec.pod_cidr:
            yield forbidden("spec.podCIDR", "node updates may not change podCIDR except from empty to valid")


class ConfigMapStrategy(Strategy):
    def validate(self, obj: core_v1.ConfigMap) -> Iterator[FieldError]:
        yield from _keys(obj)
        for key in obj.binary_data:
            if key in obj.data:
                yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")

    def validate_update(self, new: core_v1.ConfigMap, old: core_v1.ConfigMap) -> Iterator[FieldError]:
        if old.immutable:
            if not new.immutable:
                yield forbidden("immutable", "field is immutable when `immutable` is set")
            if new.data != old.data or new.binary_data != old.binary_data:
                yield forbidden("data", "field is immutable when `immutable` is set")


class SecretStrategy(Strategy):
    fields: ClassVar = {**METADATA_FIELDS, "type": lambda o: o.type}

    def default(self, obj: core_v1.Secret) -> core_v1.Secret:
        """stringData is written, never read: it goes into data."""
        data = {**obj.data, **{k: v.encode() for k, v in obj.string_data.items()}}
        return replace(obj, type=obj.type or "Opaque", data=data, string_data={})

    def validate(self, obj: core_v1.Secret) -> Iterator[FieldError]:
        yield from _keys(obj)
        for kind, keys in (
            ("kubernetes.io/tls", ("tls.crt", "tls.key")),
            ("kubernetes.io/dockerconfigjson", (".dockerconfigjson",)),
            ("kubernetes.io/ssh-auth", ("ssh-privatekey",)),
        ):
            if obj.type == kind:
                for key in keys:
                    if key not in obj.data:
                        yield required(f"data[{key}]")

    def validate_update(self, new: core_v1.Secret, old: core_v1.Secret) -> Iterator[FieldError]:
        yield from immutable("type", new.type, old.type)
        if old.immutable:
            if not new.immutable:
                yield forbidden("immutable", "field is immutable when `immutable` is set")
            if new.data != old.data:
                yield forbidden("data", "field is immutable when `immutable` is set")


@by_text(4096)
def _is_config_key(key: str) -> bool:
    """Remembered: many objects have the same keys."""
    return len(key) <= 253 and key not in (".", "..") and CONFIG_KEY.fullmatch(key) is not None


def _keys(obj: Any) -> Iterator[FieldError]:
    size = 0
    for field in ("data", "binary_data"):
        for key, value in getattr(obj, field, {}).items():
            size += len(value)
            if not _is_config_key(key):
                yield invalid(
                    f"data[{key}]",
                    key,
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.', at most 253 of them",
                )
    if size > CONFIG_MOST:
        yield FieldError("data", f"Too long: may not be more than {CONFIG_MOST} bytes", reason="FieldValueTooLong")


_regarding: dict[str, Callable[[core_v1.Event], str]] = {
    "kind": lambda o: o.involved_object.kind,
    "namespace": lambda o: o.involved_object.namespace,
    "name": lambda o: o.involved_object.name,
    "uid": lambda o: o.involved_object.uid,
    "apiVersion": lambda o: o.involved_object.api_version,
    "resourceVersion": lambda o: o.involved_object.resource_version,
    "fieldPath": lambda o: o.involved_object.field_path,
}


class EventStrategy(Strategy):
    fields: ClassVar = {
        **METADATA_FIELDS,
        **{f"involvedObject.{name}": read for name, read in _regarding.items()},
        **{f"regarding.{name}": read for name, read in _regarding.items()},
        "reportingController": lambda o: o.reporting_component,
        "reason": lambda o: o.reason,
        "reportingComponent": lambda o: o.reporting_component,
        "source": lambda o: o.source.component or o.reporting_component,
        "type": lambda o: o.type,
    }

    def validate(self, obj: core_v1.Event) -> Iterator[FieldError]:
        expected = obj.involved_object.namespace or "default"
        if obj.metadata.namespace != expected and obj.involved_object.namespace:
            yield invalid("involvedObject.namespace", obj.involved_object.namespace, "does not match event.namespace")


class RbacStrategy(Strategy):
    """RBAC objects: names may hold colons."""

    name_rule = "path"
