"""What one claim, and what one volume, needs next: decided from what is known and nothing else.

claim Pending ── a volume suits ───────────────► bind both (volume first: its claimRef is the lock)
              ── none, class is ours ──────────► provision one, already reserved for the claim
              ── class waits, no node chosen ──► wait for the scheduler
volume        ── its claim is gone ────────────► Released; deleted where the policy says Delete
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from kubeapi.claims import NO_PROVISIONER, SELECTED_NODE, class_of, reserved_for, suits, waits_for_consumer
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

PROVISIONER = "sampan.dev/local-path"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
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
    reserved = [v for v in volumes if reserved_for(v, claim) and v.metadata.deletion_timestamp is None]
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
        return ClaimPlan("pending", reason="ProvisioningFailed" if name else "FailedBinding", message=text)
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
    return ClaimPlan("bind", volume)


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
        metadata=ObjectMeta(name=name, annotations={PROVISIONED_BY: PROVISIONER}),
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


def plan_volume(
    volume: PersistentVolume, claim_of: Callable[[ObjectReference], PersistentVolumeClaim | None]
) -> VolumePlan:
    ref = volume.spec.claim_ref
    if ref is None or not ref.uid:
        return VolumePlan("Available")
    claim = claim_of(ref)
    if claim is not None and claim.metadata.uid == ref.uid:
        bound = claim.spec.volume_name == volume.metadata.name
        return VolumePlan("Bound" if bound else (volume.status.phase or "Pending"))
    if volume.spec.persistent_volume_reclaim_policy == "Recycle":
        return VolumePlan("Failed", message="the reclaim policy Recycle is not supported")
    ours = volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER or volume.spec.host_path is not None
    return VolumePlan("Released", delete=ours and volume.spec.persistent_volume_reclaim_policy == "Delete")
