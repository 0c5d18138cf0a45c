"""What a node may do: its own Node, its lease, its pods, and only those secrets, configurations and claims that its pods use.

A node that is broken into tells no more than what ran on it. Users are `system:node:NAME` in the group `system:nodes`.
Source: Kubernetes, "Using Node Authorization" and the NodeRestriction admission.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controlplane.apiserver.auth.attributes import MASTERS, READ, Attributes, User
from controlplane.apiserver.cache import WatchCache
from kubeapi.errors import ApiError, Forbidden
from kubeapi.selectors import parse_field_selector
from kubeapi.types import core_v1

GROUP = "system:nodes"
PREFIX = "system:node:"
RESTRICTED_LABEL = "node-restriction.kubernetes.io/"
PODS = "/registry/core/pods/"
LEASES = "kube-node-lease"

_READ_ALL = {
    ("", "services"),
    ("", "nodes"),
    ("discovery.k8s.io", "endpointslices"),
    ("", "persistentvolumes"),
    ("storage.k8s.io", "csidrivers"),
    ("storage.k8s.io", "volumeattachments"),
    ("node.k8s.io", "runtimeclasses"),
}
_USED = {"secrets": "Secret", "configmaps": "ConfigMap", "persistentvolumeclaims": "PersistentVolumeClaim"}


def node_name(user: User) -> str:
    """Empty: the user is no node."""
    if GROUP not in user.groups or MASTERS in user.groups or not user.name.startswith(PREFIX):
        return ""
    return user.name.removeprefix(PREFIX)


class NodeAuthorizer:
    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache

    def reason(self, user: User, ask: Attributes) -> str | None:
        node = node_name(user)
        return f"node {node} at its own work" if node and self._allows(node, ask) else None

    def _allows(self, node: str, ask: Attributes) -> bool:
        what = (ask.group, ask.resource)
        if what in _READ_ALL and ask.verb in READ and not ask.subresource:
            return True
        if what[0] == "" and ask.resource in _USED and not ask.subresource:
            return self._reads_used(node, ask)
        match what:
            case ("", "pods"):
                return self._pods(node, ask)
            case ("", "nodes"):
                own = ask.name == node
                if ask.subresource == "status":
                    return own and ask.verb in ("update", "patch")
                return not ask.subresource and (ask.verb == "create" or (own and ask.verb in ("update", "patch")))
            case ("coordination.k8s.io", "leases"):
                if ask.namespace != LEASES:
                    return False
                return ask.verb == "create" or (ask.name == node and ask.verb in ("get", "update", "patch", "delete"))
            case ("", "events") | ("events.k8s.io", "events"):
                return ask.verb in ("create", "update", "patch")
            case ("", "serviceaccounts"):
                return (
                    ask.subresource == "token"
                    and ask.verb == "create"
                    and any(pod.spec.service_account_name == ask.name for pod in self._own_pods(node, ask.namespace))
                )
            case ("", "persistentvolumes"):  # the node that has a volume's directory removes it, then its own finalizer
                return not ask.subresource and ask.verb in ("update", "patch")
            case ("authentication.k8s.io", "tokenreviews") | ("authorization.k8s.io", "subjectaccessreviews"):
                return ask.verb == "create"
            case ("certificates.k8s.io", "certificatesigningrequests"):
                return not ask.subresource and ask.verb in ("create", *READ)
        return False

    def _pods(self, node: str, ask: Attributes) -> bool:
        if ask.verb in ("list", "watch"):
            return _selects(ask.field_selector, "spec.nodeName", node)
        if ask.verb == "create" and ask.subresource in ("", "eviction"):
            return not ask.subresource or self._is_own(node, ask)
        if ask.subresource not in ("", "status"):
            return False
        verbs = ("update", "patch") if ask.subresource == "status" else ("get", "delete")
        return ask.verb in verbs and self._is_own(node, ask)

    def _is_own(self, node: str, ask: Attributes) -> bool:
        """Of a pod that is gone there is nothing to hide: the node is told so, and not that it may not ask."""
        item = self._cache.get(f"{PODS}{ask.namespace}/{ask.name}")
        return item is None or item.object.spec.node_name == node

    def _reads_used(self, node: str, ask: Attributes) -> bool:
        if ask.verb not in READ:
            return False
        name = ask.name
        if ask.verb != "get":
            name = name or _selected(ask.field_selector, "metadata.name")
        wanted = (_USED[ask.resource], name)
        return bool(name) and any(wanted in references(pod) for pod in self._own_pods(node, ask.namespace))

    def _own_pods(self, node: str, namespace: str) -> Iterator[core_v1.Pod]:
        prefix = f"{PODS}{namespace}/"
        for key, item in self._cache.collection(PODS).items.items():
            if item.object.spec.node_name == node and key.startswith(prefix):
                yield item.object


def _selected(selector: str, path: str) -> str:
    try:
        terms = parse_field_selector(selector)
    except ApiError:
        return ""
    return next((t.value for t in terms if t.path == path and t.equal), "")


def _selects(selector: str, path: str, value: str) -> bool:
    return _selected(selector, path) == value


def references(pod: core_v1.Pod) -> set[tuple[str, str]]:
    """(kind, name) of all that a pod's node must read to run it."""
    return set(_references(pod))


def _references(pod: core_v1.Pod) -> Iterator[tuple[str, str]]:
    spec = pod.spec
    for secret in spec.image_pull_secrets:
        yield "Secret", secret.name
    for volume in spec.volumes:
        if volume.secret is not None:
            yield "Secret", volume.secret.secret_name
        if volume.config_map is not None:
            yield "ConfigMap", volume.config_map.name
        if volume.persistent_volume_claim is not None:
            yield "PersistentVolumeClaim", volume.persistent_volume_claim.claim_name
        if volume.ephemeral is not None:
            yield "PersistentVolumeClaim", f"{pod.metadata.name}-{volume.name}"
        if volume.projected is not None:
            for source in volume.projected.sources:
                if source.secret is not None:
                    yield "Secret", source.secret.name
                if source.config_map is not None:
                    yield "ConfigMap", source.config_map.name
    containers: list[Any] = [*spec.init_containers, *spec.containers, *spec.ephemeral_containers]
    for container in containers:
        for many in container.env_from:
            if many.secret_ref is not None:
                yield "Secret", many.secret_ref.name
            if many.config_map_ref is not None:
                yield "ConfigMap", many.config_map_ref.name
        for one in container.env:
            if one.value_from is not None and one.value_from.secret_key_ref is not None:
                yield "Secret", one.value_from.secret_key_ref.name
            if one.value_from is not None and one.value_from.config_map_key_ref is not None:
                yield "ConfigMap", one.value_from.config_map_key_ref.name


def restrict(node: str, plural: str, new: Any, old: Any | None) -> None:
    """What a node must not write even where it may write. Raises Forbidden."""
    name = new.metadata.name
    if plural == "nodes":
        if name != node:
            raise Forbidden(f'nodes "{name}" is forbidden: node "{node}" is not allowed to modify node "{name}"')
        before = old.metadata.labels if old is not None else {}
        for key in {k for k, v in new.metadata.labels.items() if before.get(k) != v} | (
            before.keys() - new.metadata.labels
        ):
            if key.startswith(RESTRICTED_LABEL):
                raise Forbidden(f'nodes "{name}" is forbidden: node "{node}" is not allowed to change label {key}')
    elif plural == "leases" and name != node:
        raise Forbidden(f'leases "{name}" is forbidden: node "{node}" can only access a lease with its own name')
    elif plural == "pods" and old is None:
        if "kubernetes.io/config.mirror" not in new.metadata.annotations:
            raise Forbidden(f'pods "{name}" is forbidden: pod does not have "kubernetes.io/config.mirror" annotation')
        if new.spec.node_name != node:
            raise Forbidden(
                f'pods "{name}" is forbidden: node "{node}" can only create pods with spec.nodeName set to itself'
            )
