"""Why a pod waits, node by node, and what would have to change. Pure: objects in, reasons out.

The scheduler's event counts nodes by the first thing that objects. Here everything is heard about every node, with quantities:
one sees at once whether to remove a taint, to free 200m of cpu, or both. What depends on the neighbours (spreading, affinity to other
pods) is not worked out a second time: what the scheduler says of it is passed on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from kubeapi.claims import class_of, is_bound, suits, waits_for_consumer
from kubeapi.placement import selector_matches, term_matches, tolerates
from kubeapi.quantity import format_binary, format_decimal, parse
from kubeapi.types.core_v1 import (
    Container,
    Node,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    ResourceRequirements,
    Taint,
)
from kubeapi.types.storage_v1 import StorageClass

HARD = ("NoSchedule", "NoExecute")
UNSCHEDULABLE = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
HOSTNAME = "kubernetes.io/hostname"
NEIGHBOURS = ("topology spread", "pod affinity", "pod anti-affinity", "anti-affinity rules")
"""In what the scheduler says of reasons that are not worked out here."""
Amounts = Mapping[str, Fraction]


@dataclass(frozen=True, slots=True)
class Reason:
    why: str
    change: str
    """What would have to change for this reason to go."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of the cluster."""

    nodes: Sequence[Node] = ()
    pods: Sequence[Pod] = ()
    """Those that have a node."""
    claims: Mapping[str, PersistentVolumeClaim] = field(default_factory=dict)
    """Of the pod's namespace, by name."""
    volumes: Mapping[str, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[str, StorageClass] = field(default_factory=dict)


# ------------------------------------------------------------------ whatever the node


def everywhere(pod: Pod, now: Situation) -> Iterator[Reason]:
    """What keeps the pod from every node."""
    gates = [gate.name for gate in pod.spec.scheduling_gates]
    if gates:
        yield Reason(
            f"scheduling gates: {', '.join(gates)}", "who has set a gate must take it off spec.schedulingGates"
        )
    if not now.nodes:
        yield Reason("there is no node", "a node must join the cluster")
    for name in claim_names(pod):
        claim = now.claims.get(name)
        if claim is None:
            yield Reason(f'persistentvolumeclaim "{name}" not found', f"create the claim {name}")
        elif claim.metadata.deletion_timestamp is not None:
            yield Reason(f'persistentvolumeclaim "{name}" is being deleted', "use another claim")
        elif is_bound(claim):
            if claim.spec.volume_name not in now.volumes:
                yield Reason(
                    f"claim {name} is bound to volume {claim.spec.volume_name}, which is gone",
                    f"delete the claim {name} and make it anew",
                )
        else:
            yield from _unbound(name, claim, now)


def _unbound(name: str, claim: PersistentVolumeClaim, now: Situation) -> Iterator[Reason]:
    wanted = class_of(claim)
    class_ = now.classes.get(wanted)
    if waits_for_consumer(class_):
        return
    size = claim.spec.resources.requests.get("storage", "0")
    if wanted and class_ is None:
        there = ", ".join(sorted(now.classes)) or "none"
        yield Reason(
            f"claim {name} is not bound: there is no storage class {wanted}",
            f"create it, or a volume of that class; classes: {there}",
        )
        return
    modes = ", ".join(claim.spec.access_modes)
    why = f"claim {name} is not bound: no free volume has class {wanted or '(none)'}, {modes}, and {size}"
    if any(suits(volume, claim) for volume in now.volumes.values()):
        why = f"claim {name} is not bound yet, though a volume would suit it"
    yield Reason(why, "create such a volume, or a claim of a class that makes volumes by itself")


def claim_names(pod: Pod) -> list[str]:
    found = []
    for volume in pod.spec.volumes:
        if volume.persistent_volume_claim is not None:
            found.append(volume.persistent_volume_claim.claim_name)
        elif volume.ephemeral is not None:
            found.append(f"{pod.metadata.name}-{volume.name}")
    return found


# ------------------------------------------------------------------ node by node


def of_node(pod: Pod, node: Node, now: Situation) -> list[Reason]:
    """None: as far as is known here the pod could go there."""
    name = node.metadata.name
    mates = [p for p in now.pods if p.spec.node_name == name and p.status.phase not in ("Succeeded", "Failed")]
    return [
        *_taints(pod, node),
        *_labels(pod, node),
        *_resources(pod, node, mates),
        *_ports(pod, mates),
        *_volumes(pod, node, now),
    ]


def _taints(pod: Pod, node: Node) -> Iterator[Reason]:
    name, tolerations = node.metadata.name, pod.spec.tolerations
    if node.spec.unschedulable and not any(tolerates(t, UNSCHEDULABLE) for t in tolerations):
        yield Reason("the node is cordoned", f"kubectl-lite uncordon {name}")
    for taint in node.spec.taints:
        if taint.effect not in HARD or any(tolerates(t, taint) for t in tolerations):
            continue
        if taint.key == UNSCHEDULABLE.key and node.spec.unschedulable:
            continue
        text = f"{taint.key}{'=' if taint.value else ''}{taint.value}:{taint.effect}"
        if taint.key.startswith("node.kubernetes.io/"):
            yield Reason(f"taint {text}", f"the node must get well: kubectl-lite describe node {name}")
        else:
            yield Reason(f"taint {text}", f"tolerate it, or kubectl-lite taint nodes {name} {text}-")


def _labels(pod: Pod, node: Node) -> Iterator[Reason]:
    labels, name = node.metadata.labels, node.metadata.name
    for key, value in sorted(pod.spec.node_selector.items()):
        if labels.get(key) != value:
            has = f"has {key}={labels[key]}" if key in labels else "has no such label"
            change = f"kubectl-lite label nodes {name} {key}={value}{' --overwrite' if key in labels else ''}"
            if key == HOSTNAME:
                change = "the label is the node's name: choose by another one in the pod"
            yield Reason(f"nodeSelector wants {key}={value}, the node {has}", change)
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    if required is not None and not selector_matches(required, node):
        wants = " or ".join(
            " and ".join(
                f"{e.key} {e.operator} {','.join(e.values)}".strip() for e in [*t.match_expressions, *t.match_fields]
            )
            for t in required.node_selector_terms
            if not term_matches(t, node)
        )
        yield Reason(f"node affinity wants {wants or 'what no node has'}", "label the node so, or change the affinity")


def _resources(pod: Pod, node: Node, mates: Sequence[Pod]) -> Iterator[Reason]:
    have = {name: parse(amount) for name, amount in node.status.allocatable.items()}
    taken: dict[str, Fraction] = {"pods": Fraction(len(mates))}
    for mate in mates:
        for name, amount in requests_of(mate).items():
            taken[name] = taken.get(name, Fraction(0)) + amount
    wanted: dict[str, Fraction] = {"pods": Fraction(1), **requests_of(pod)}
    for name, amount in sorted(wanted.items()):
        free = have.get(name, Fraction(0)) - taken.get(name, Fraction(0))
        if amount <= free or amount == 0:
            continue
        if name not in have:
            yield Reason(f"no {name} at all, {show(name, amount)} asked for", f"a node with {name}")
            continue
        total, used = have[name], taken.get(name, Fraction(0))
        change = f"ask for less, or free {show(name, amount - max(free, Fraction(0)))}"
        if amount > total:
            change = f"ask for at most {show(name, total)}: the whole node has no more"
        free_text = show(name, max(free, Fraction(0)))
        yield Reason(
            f"{name}: {show(name, amount)} asked for, {free_text} free ({show(name, used)} of {show(name, total)} taken)",
            change,
        )


def show(resource: str, amount: Fraction) -> str:
    if resource == "cpu":
        return format_decimal(amount)
    return format_binary(math.ceil(amount)) if amount else "0"


def requests_of(pod: Pod) -> dict[str, Fraction]:
    """All containers together; or the largest init container, with the sidecars begun before it, if that is more."""
    total = _sum(_asked(c.resources) for c in pod.spec.containers)
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in pod.spec.init_containers:
        own = _sum([_asked(container.resources), sidecars])
        if _is_sidecar(container):
            sidecars = own
        peak = {name: max(peak.get(name, Fraction(0)), own.get(name, Fraction(0))) for name in peak.keys() | own.keys()}
    total = _sum([total, sidecars])
    found = {
        name: max(total.get(name, Fraction(0)), peak.get(name, Fraction(0))) for name in total.keys() | peak.keys()
    }
    if pod.spec.resources is not None:
        found |= {n: a for n, a in _asked(pod.spec.resources).items() if n in ("cpu", "memory")}
    return _sum([found, {name: parse(amount) for name, amount in pod.spec.overhead.items()}])


def _is_sidecar(container: Container) -> bool:
    return container.restart_policy == "Always"


def _asked(resources: ResourceRequirements) -> dict[str, Fraction]:
    return {name: parse(amount) for name, amount in {**resources.limits, **resources.requests}.items()}


def _sum(parts: Iterable[Amounts]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found.get(name, Fraction(0)) + amount
    return found


def _ports(pod: Pod, mates: Sequence[Pod]) -> Iterator[Reason]:
    for address, protocol, port in sorted(_host_ports(pod)):
        for mate in mates:
            clash = any(
                (protocol, port) == other[1:] and (address == other[0] or "0.0.0.0" in (address, other[0]))
                for other in _host_ports(mate)
            )
            if clash:
                who = f"{mate.metadata.namespace}/{mate.metadata.name}"
                yield Reason(f"host port {port}/{protocol} is taken by {who}", "use another hostPort, or none")
                break


def _host_ports(pod: Pod) -> set[tuple[str, str, int]]:
    ports = [port for container in pod.spec.containers for port in container.ports]
    return {(p.host_ip or "0.0.0.0", p.protocol or "TCP", p.host_port) for p in ports if p.host_port}


def _volumes(pod: Pod, node: Node, now: Situation) -> Iterator[Reason]:
    for name in claim_names(pod):
        claim = now.claims.get(name)
        volume = now.volumes.get(claim.spec.volume_name) if claim is not None else None
        if volume is None or volume.spec.node_affinity is None:
            continue
        required = volume.spec.node_affinity.required
        if not selector_matches(required, node):
            yield Reason(f"volume {volume.metadata.name} of claim {name} is not on this node", "the data is elsewhere")


# ------------------------------------------------------------------ after it has a node


def unstarted(pod: Pod) -> Iterator[Reason]:
    """Why the containers of a pod that has a node do not run."""
    for status in [*pod.status.init_container_statuses, *pod.status.container_statuses]:
        waiting = status.state.waiting if status.state is not None else None
        if waiting is None or waiting.reason in ("", "PodInitializing"):
            continue
        text = f"container {status.name}: {waiting.reason}" + (f": {waiting.message}" if waiting.message else "")
        yield Reason(text, _CHANGES.get(waiting.reason, f"see kubectl-lite describe pod {pod.metadata.name}"))


_IMAGE = "check the image's name, and that the node can pull it; `sampan load IMAGE` puts one there"
_CHANGES = {
    "ErrImagePull": _IMAGE,
    "ImagePullBackOff": _IMAGE,
    "InvalidImageName": "write the image as [REGISTRY/]NAME[:TAG]",
    "ErrImageNeverPull": "load the image into the node, or allow pulling: imagePullPolicy: IfNotPresent",
    "CreateContainerConfigError": "create the ConfigMap or Secret that it names",
    "CrashLoopBackOff": "see what it says before it ends: kubectl-lite logs POD --previous",
}
