"""What this version stores but does not act on. Whoever writes it is told, by a warning beside the answer.

Two tables, made to shrink: a kind, or a field, leaves its table in the commit that makes something act on it. What the
node agent refuses on its own (a runtime class, user namespaces) is not here: that pod says so itself.
A path has JSON names; `[]` stands for each element of a list. A field counts as used when it is not empty.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kubeapi.remembered import by_identity
from kubeapi.schema import descriptor_of, fields_of, reader

KINDS: dict[str, str] = {
    "ingresses.networking.k8s.io": "no ingress controller is part of this cluster; the rules are stored only",
    "networkpolicies.networking.k8s.io": "network policies are stored, not enforced: all traffic stays allowed",
    "horizontalpodautoscalers.autoscaling": "no autoscaler runs here: nothing is scaled",
    "replicationcontrollers": "no controller for it runs here: use a ReplicaSet or a Deployment",
    "resourcequotas": "quotas are stored, not enforced",
    "limitranges": "limit ranges are stored, not applied",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": "admission webhooks are not called",
    "validatingwebhookconfigurations.admissionregistration.k8s.io": "admission webhooks are not called",
    "validatingadmissionpolicies.admissionregistration.k8s.io": "admission policies are not evaluated",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": "admission policies are not evaluated",
    "mutatingadmissionpolicies.admissionregistration.k8s.io": "admission policies are not evaluated",
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": "admission policies are not evaluated",
    "customresourcedefinitions.apiextensions.k8s.io": "custom resources are not served",
    "apiservices.apiregistration.k8s.io": "no request is passed on to another API server",
    "certificatesigningrequests.certificates.k8s.io": "no signer runs here: it stays as it is",
    "runtimeclasses.node.k8s.io": "nodes have one runtime: pods that name a class are not started",
    "csidrivers.storage.k8s.io": "no CSI driver is called",
    "volumeattachments.storage.k8s.io": "nothing is attached",
    "volumeattributesclasses.storage.k8s.io": "no volume is changed by it",
    "servicecidrs.networking.k8s.io": "the API server's own range is the only one that addresses come from",
}
_NO_PLUGIN = "no such volume plug-in: the pod will wait"
POD_SPEC: dict[str, str] = {
    "resourceClaims": "dynamic resources are not allocated",
    "resources": "resources of a whole pod are not enforced",
    "hostnameOverride": "the host name is the pod's name or spec.hostname",
    "securityContext.supplementalGroupsPolicy": "groups of the image are always merged",
    "securityContext.fsGroupChangePolicy": "ownership is set at every start",
    "securityContext.seLinuxChangePolicy": "SELinux labels are not changed",
    "containers[].resizePolicy": "containers are not resized in place",
    "containers[].restartPolicyRules": "only the pod's own restart policy counts",
    "initContainers[].restartPolicyRules": "only the container's own restart policy counts",
    **{
        f"volumes[].{source}": _NO_PLUGIN
        for source in (
            "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd", "flexVolume",
            "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk",
            "photonPersistentDisk", "portworxVolume", "scaleIO", "storageos", "csi",
        )
    },
}  # fmt: skip
FIELDS: dict[str, dict[str, str]] = {
    "services": {
        "spec.loadBalancerIP": "no load balancer is made",
        "spec.loadBalancerClass": "no load balancer is made",
        "spec.trafficDistribution": "traffic goes to all endpoints alike",
    },
    "persistentvolumeclaims": {
        "spec.dataSource": "volumes begin empty",
        "spec.dataSourceRef": "volumes begin empty",
        "spec.volumeAttributesClassName": "no volume is changed by it",
    },
    "nodes": {"spec.configSource": "nodes take their configuration from their own flags"},
}
VALUES: dict[str, dict[tuple[str, str], str]] = {
    "services": {("spec.type", "LoadBalancer"): "no load balancer is made here: the service answers at its node ports"},
}
_TEMPLATES = {
    "pods": "spec",
    "deployments.apps": "spec.template.spec",
    "replicasets.apps": "spec.template.spec",
    "statefulsets.apps": "spec.template.spec",
    "daemonsets.apps": "spec.template.spec",
    "jobs.batch": "spec.template.spec",
    "cronjobs.batch": "spec.jobTemplate.spec.template.spec",
    "podtemplates": "template.spec",
    "replicationcontrollers": "spec.template.spec",
}


def notices(qualified: str, obj: Any) -> Iterator[str]:
    """The warnings for an object that is about to be stored."""
    if qualified in KINDS:
        yield f"{obj.kind}: {KINDS[qualified]}"
    for tree, value in _VALUE_TREES.get(qualified, ()):
        yield from (f"{where}: {value}: {reason}" for where, found, reason in _at(obj, tree, "") if found == value)
    if (whole := _TREES.get(qualified)) is not None:
        yield from (f"{where}: {reason}" for where, _, reason in _at(obj, whole, ""))
    if (path := _TEMPLATES.get(qualified)) is not None and (spec := _pod_spec(obj, qualified)) is not None:
        yield from _of_pod_spec(spec, path)


def _attribute(json_name: str) -> str:
    return re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", json_name)


class _Tree:
    """The paths of a table by their steps, so that each part of an object is looked at once; its leaves are the reasons."""

    def __init__(self) -> None:
        self.below: dict[str, _Tree | str] = {}
        self._steps: dict[Any, tuple[Callable[[Any], Sequence[Any]], list[str]]] = {}

    def steps(self, type_: Any) -> tuple[Callable[[Any], Sequence[Any]], list[str]]:
        """What reads the values of those that this version's type has, and the steps in that order."""
        found = self._steps.get(type_)
        if found is None:
            names = {info.json_name: info.attribute for info in fields_of(descriptor_of(type_)).values()}
            known = [step for step in self.below if step.removesuffix("[]") in names]
            found = self._steps[type_] = reader([names[step.removesuffix("[]")] for step in known]), known
        return found


def _tree_of(table: dict[str, str]) -> _Tree:
    tree = _Tree()
    for path, reason in table.items():
        *steps, last = path.split(".")
        at = tree
        for step in steps:
            inner = at.below.setdefault(step, _Tree())
            assert isinstance(inner, _Tree)
            at = inner
        at.below[last] = reason
    return tree


_TREES = {qualified: _tree_of(table) for qualified, table in FIELDS.items()}
_POD_SPEC_TREE = _tree_of(POD_SPEC)
_STEPS = {qualified: [_attribute(name) for name in path.split(".")] for qualified, path in _TEMPLATES.items()}


_VALUE_TREES = {
    qualified: [(_tree_of({path: reason}), value) for (path, value), reason in values.items()]
    for qualified, values in VALUES.items()
}


def _pod_spec(obj: Any, qualified: str) -> Any | None:
    for attribute in _STEPS[qualified]:
        if obj is None:
            return None
        obj = getattr(obj, attribute)
    return obj


@by_identity()
def _of_pod_spec(spec: Any, path: str) -> tuple[str, ...]:
    """Many objects have one spec; `path` is one of few texts."""
    return tuple(f"{where}: {reason}" for where, _, reason in _at(spec, _POD_SPEC_TREE, path))


def _at(value: Any, tree: _Tree, path: str) -> Iterator[tuple[str, Any, str]]:
    """(path, value, reason) of everything there that is not empty."""
    read, steps = tree.steps(type(value))
    for inner, step in zip(read(value), steps, strict=True):
        if not inner:
            continue
        name, below = step.removesuffix("[]"), tree.below[step]
        where = f"{path}.{name}" if path else name
        if isinstance(below, str):
            yield where, inner, below
        elif step.endswith("[]"):
            for i, one in enumerate(inner):
                yield from _at(one, below, f"{where}[{i}]")
        else:
            yield from _at(inner, below, where)
