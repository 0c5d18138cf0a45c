"""What one claim, and what one volume, needs next: decided from what is known and nothing else.

claim Pending ── a volume suits ───────────────► bind both (volume first: its claimRef is the lock)
              ── none, class is ours ──────────► provision one, already reserved for the claim
              ── class waits, no node chosen ──► wait for the scheduler
volume        ── its claim is gone ────────────► Released; deleted where the policy says Delete
              ── being deleted, claim gone ────► protection lifted; the node's agent then removes the directory
              ── being deleted, node gone ─────► nobody can remove the directory: let go
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kubeapi.claims import (
    NO_PROVISIONER,
    PROVISIONED_BY,
    PROVISIONER,
    RECLAIM,
    SELECTED_NODE,
    VOLUME_NODE,
    VOLUME_PROTECTION,
    class_of,
    reserved_for,
    suits,
    waits_for_consumer,
)
from kubeapi.meta import is_true
from kubeapi.placement import selector_matches
from kubeapi.quantity import parse
from kubeapi.types.core_v1 import (
    HostPathVolumeSource,
    Node,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    ObjectReference,
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeSpec,
    VolumeNodeAffinity,
)
from kubeapi.types.meta_v1 import ObjectMeta
from kubeapi.types.storage_v1 import StorageClass

HOSTNAME = "kubernetes.io/hostname"

ClaimStep = Literal["nothing", "bind", "provision", "wait", "lost", "pending"]


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    step: ClaimStep
    volume: PersistentVolume | None = None
    """To be bound; of provision, to be created."""
    reason: str = ""
    message: str = ""
    """The event to tell."""
    severity: Literal["Normal", "Warning"] = "Normal"


def plan_claim(
    claim: PersistentVolumeClaim,
    class_: StorageClass | None,
    volumes: Sequence[PersistentVolume],
    nodes: Sequence[Node],
    directory: str,
) -> ClaimPlan:
    if claim.metadata.deletion_timestamp is not None:
        return ClaimPlan("nothing")
    if claim.spec.volume_name:
        return _named(claim, volumes)
    reserved = [v for v in volumes if reserved_for(v, claim) and not mismatch(v, claim, prebound=True)]
    if reserved:
        return ClaimPlan("bind", min(reserved, key=lambda v: (not v.spec.claim_ref.uid, v.metadata.name)))  # type: ignore[union-attr]
    chosen = claim.metadata.annotations.get(SELECTED_NODE, "")
    waits = waits_for_consumer(class_)
    if waits and not chosen:
        message = "waiting for first consumer to be created before binding"
        return ClaimPlan("wait", reason="WaitForFirstConsumer", message=message)
    node = next((n for n in nodes if n.metadata.name == chosen), None)
    fitting = [v for v in volumes if suits(v, claim) and (not waits or _reachable(v, node))]
    if fitting:
        smallest = min(fitting, key=lambda v: (parse(v.spec.capacity.get("storage", "0")), v.metadata.name))
        return ClaimPlan("bind", smallest)
    if class_ is None:
        name = class_of(claim)
        text = f'storageclass.storage.k8s.io "{name}" not found' if name else _NOTHING
        if name:
            return ClaimPlan("pending", reason="ProvisioningFailed", message=text, severity="Warning")
        return ClaimPlan("pending", reason="FailedBinding", message=text)
    if class_.provisioner == PROVISIONER:
        return _provision(claim, class_, node or _any_node(claim, nodes), directory)
    if class_.provisioner == NO_PROVISIONER:
        return ClaimPlan("pending", reason="FailedBinding", message=_NOTHING)
    text = f"Waiting for a volume to be created by the external provisioner '{class_.provisioner}'"
    return ClaimPlan("pending", reason="ExternalProvisioning", message=text)


_NOTHING = "no persistent volumes available for this claim and no storage class is set"


def _named(claim: PersistentVolumeClaim, volumes: Sequence[PersistentVolume]) -> ClaimPlan:
    """The claim asks for one volume, or has it already."""
    volume = next((v for v in volumes if v.metadata.name == claim.spec.volume_name), None)
    was_bound = claim.status.phase == "Bound"
    if volume is None or (volume.spec.claim_ref is not None and not reserved_for(volume, claim)):
        if was_bound:
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            return ClaimPlan("lost", reason="ClaimLost", message=text, severity="Warning")
        return ClaimPlan("nothing" if claim.status.phase == "Lost" else "pending")
    if was_bound and volume.spec.claim_ref is not None and volume.spec.claim_ref.uid:
        return ClaimPlan("nothing")
    if volume.spec.claim_ref is None and (problem := mismatch(volume, claim)):
        text = f'Cannot bind to requested volume "{volume.metadata.name}": {problem}'
        return ClaimPlan("pending", reason="VolumeMismatch", message=text, severity="Warning")
    return ClaimPlan("bind", volume)


def mismatch(volume: PersistentVolume, claim: PersistentVolumeClaim, *, prebound: bool = False) -> str:
    """Why this volume cannot serve a claim that asks for it by name, or (prebound) that it asks for by name."""
    if volume.metadata.deletion_timestamp is not None:
        return "volume is being deleted"
    if not prebound and volume.spec.storage_class_name != class_of(claim):
        return "storageClassName does not match"
    if (volume.spec.volume_mode or "Filesystem") != (claim.spec.volume_mode or "Filesystem"):
        return "incompatible volumeMode"
    if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
        return "incompatible accessMode"
    wanted = claim.spec.resources.requests.get("storage", "0")
    if parse(volume.spec.capacity.get("storage", "0")) < parse(wanted):
        return "requested PV is too small"
    return ""


def _reachable(volume: PersistentVolume, node: Node | None) -> bool:
    affinity = volume.spec.node_affinity
    return affinity is None or (node is not None and selector_matches(affinity.required, node))


def _any_node(claim: PersistentVolumeClaim, nodes: Iterable[Node]) -> Node | None:
    """For a class that binds at once, before any pod has a node: the same answer however often it is asked."""
    fit = [n for n in nodes if is_true(n.status.conditions, "Ready") and not n.spec.unschedulable]
    return min(
        fit,
        key=lambda n: hashlib.sha256(f"{claim.metadata.uid}/{n.metadata.name}".encode()).digest(),
        default=None,
    )


def _provision(claim: PersistentVolumeClaim, class_: StorageClass, node: Node | None, directory: str) -> ClaimPlan:
    modes = set(claim.spec.access_modes) - {"ReadWriteOnce", "ReadWriteOncePod"}
    problem = ""
    if modes:
        problem = f"{PROVISIONER} supports only ReadWriteOnce and ReadWriteOncePod, not {', '.join(sorted(modes))}"
    elif claim.spec.volume_mode == "Block":
        problem = f"{PROVISIONER} supports only volumeMode Filesystem"
    elif claim.spec.selector is not None:
        problem = "claim.spec.selector is not supported for dynamic provisioning"
    elif node is None:
        problem = "no node to put the volume on"
    if problem or node is None:
        text = f'failed to provision volume with StorageClass "{class_.metadata.name}": {problem}'
        return ClaimPlan("pending", reason="ProvisioningFailed", message=text, severity="Warning")
    name = f"pvc-{claim.metadata.uid}"
    path = f"{directory}/{name}_{claim.metadata.namespace}_{claim.metadata.name}"
    hostname = node.metadata.labels.get(HOSTNAME, node.metadata.name)
    wanted = NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[hostname])
    term = NodeSelectorTerm(match_expressions=[wanted])
    volume = PersistentVolume(
        metadata=ObjectMeta(
            name=name,
            annotations={PROVISIONED_BY: PROVISIONER},
            labels={VOLUME_NODE: hostname},
            finalizers=[RECLAIM],
        ),
        spec=PersistentVolumeSpec(
            capacity={"storage": claim.spec.resources.requests.get("storage", "0")},
            access_modes=claim.spec.access_modes,
            claim_ref=reference_to(claim),
            persistent_volume_reclaim_policy=class_.reclaim_policy or "Delete",
            storage_class_name=class_.metadata.name,
            mount_options=class_.mount_options,
            volume_mode="Filesystem",
            host_path=HostPathVolumeSource(path=path, type="DirectoryOrCreate"),
            node_affinity=VolumeNodeAffinity(required=NodeSelector(node_selector_terms=[term])),
        ),
    )
    return ClaimPlan("provision", volume, "ProvisioningSucceeded", f"Successfully provisioned volume {name}")


def reference_to(claim: PersistentVolumeClaim) -> ObjectReference:
    meta = claim.metadata
    return ObjectReference(
        kind="PersistentVolumeClaim", api_version="v1", namespace=meta.namespace, name=meta.name, uid=meta.uid
    )


@dataclass(frozen=True, slots=True)
class VolumePlan:
    phase: str
    delete: bool = False
    message: str = ""
    finalizers: list[str] | None = None
    """What is to be left of them; None: all."""


def plan_volume(
    volume: PersistentVolume, claim: PersistentVolumeClaim | None, hostnames: Callable[[], Collection[str]]
) -> VolumePlan:
    """`claim` is the one that the claimRef names, whatever its uid; `hostnames` are those of all nodes."""
    ref = volume.spec.claim_ref
    held = ref is not None and ref.uid and claim is not None and claim.metadata.uid == ref.uid
    if volume.metadata.deletion_timestamp is not None:
        if held:
            return VolumePlan(volume.status.phase)
        kept = [f for f in volume.metadata.finalizers if f != VOLUME_PROTECTION]
        if RECLAIM in kept and volume.metadata.labels.get(VOLUME_NODE) not in hostnames():
            kept.remove(RECLAIM)
        return VolumePlan(volume.status.phase, finalizers=kept if kept != volume.metadata.finalizers else None)
    if ref is None or not ref.uid:
        return VolumePlan("Available")
    if held and claim is not None:
        bound = claim.spec.volume_name == volume.metadata.name
        return VolumePlan("Bound" if bound else (volume.status.phase or "Pending"))
    return _given_up(volume)


def _given_up(volume: PersistentVolume) -> VolumePlan:
    match volume.spec.persistent_volume_reclaim_policy:
        case "Recycle":
            return VolumePlan("Failed", message="the reclaim policy Recycle is not supported; use Delete or Retain")
        case "Delete":
            by = volume.metadata.annotations.get(PROVISIONED_BY, "")
            if not by:
                text = "no deletable volume plugin matched: a volume made by hand is deleted by hand"
                return VolumePlan("Failed", message=text)
            return VolumePlan("Released", delete=by == PROVISIONER)
        case _:
            return VolumePlan("Released")
