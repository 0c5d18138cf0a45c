"""Whether a volume suits a claim: what the scheduler foresees and the volume controller carries out."""

from __future__ import annotations

from kubeapi.quantity import parse
from kubeapi.selectors import label_query
from kubeapi.types.core_v1 import PersistentVolume, PersistentVolumeClaim
from kubeapi.types.storage_v1 import StorageClass

SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
PROVISIONER = "sampan.dev/local-path"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
RECLAIM = "sampan.dev/local-path"
"""Finalizer of a provisioned volume: its node's agent takes it away together with the directory."""
VOLUME_NODE = "sampan.dev/volume-node"
"""Label of a provisioned volume: the hostname of the node that has its directory."""


def is_bound(claim: PersistentVolumeClaim) -> bool:
    return bool(claim.spec.volume_name) and claim.status.phase == "Bound"


def class_of(claim: PersistentVolumeClaim) -> str:
    return claim.spec.storage_class_name or ""


def waits_for_consumer(class_: StorageClass | None) -> bool:
    return class_ is not None and class_.volume_binding_mode == "WaitForFirstConsumer"


def reserved_for(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """By an administrator (no uid yet) or by the controller."""
    ref = volume.spec.claim_ref
    if ref is None or (ref.namespace, ref.name) != (claim.metadata.namespace, claim.metadata.name):
        return False
    return ref.uid in ("", claim.metadata.uid)


def suits(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Class, modes, size, labels; free, or kept for this claim."""
    spec = claim.spec
    if volume.metadata.deletion_timestamp is not None:
        return False
    if volume.spec.claim_ref is not None and not reserved_for(volume, claim):
        return False
    if volume.spec.claim_ref is None and volume.status.phase not in ("", "Pending", "Available"):
        return False
    if spec.volume_name and spec.volume_name != volume.metadata.name:
        return False
    if volume.spec.storage_class_name != class_of(claim):
        return False
    if (volume.spec.volume_mode or "Filesystem") != (spec.volume_mode or "Filesystem"):
        return False
    if not set(spec.access_modes) <= set(volume.spec.access_modes):
        return False
    if spec.selector is not None and not label_query(spec.selector).matches(volume.metadata.labels):
        return False
    has = parse(volume.spec.capacity.get("storage", "0"))
    return has >= parse(spec.resources.requests.get("storage", "0"))
