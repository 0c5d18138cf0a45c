"""What a pod's claims ask of the scheduler, in each state that a claim goes through."""

from collections.abc import Mapping

import pytest

from controlplane.scheduler.volumes import VolumeNeeds, needs_of
from kubeapi.claims import SELECTED_NODE
from kubeapi.meta import replace
from kubeapi.types.core_v1 import (
    PersistentVolume,
    PersistentVolumeClaim,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimStatus,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PodSpec,
    Volume,
)
from kubeapi.types.meta_v1 import ObjectMeta
from kubeapi.types.storage_v1 import StorageClass

CLASSES = {
    mode: StorageClass(metadata=ObjectMeta(name=mode), provisioner="p", volume_binding_mode=mode)
    for mode in ("WaitForFirstConsumer", "Immediate")
}
POD = Pod(
    metadata=ObjectMeta(name="p", namespace="d"),
    spec=PodSpec(volumes=[Volume(name="v", persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name="c"))]),
)


def claim(
    *, mode: str, volume: str = "", phase: str = "Pending", notes: Mapping[str, str] | None = None
) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name="c", namespace="d", annotations=dict(notes or {})),
        spec=PersistentVolumeClaimSpec(storage_class_name=mode, volume_name=volume),
        status=PersistentVolumeClaimStatus(phase=phase),
    )


def needs(found: PersistentVolumeClaim | None, volume: PersistentVolume | None = None) -> VolumeNeeds | None:
    return needs_of(POD, lambda *_: found, lambda _: volume, CLASSES.get, ())


@pytest.mark.parametrize("volume", ["", "pv-1"], ids=["node chosen", "volume named, not bound yet"])
def test_a_claim_whose_volume_is_being_made_is_waited_for_on_its_node(volume: str) -> None:
    """Between choosing a node and the bound volume the pod must not be called unschedulable."""
    found = needs(claim(mode="WaitForFirstConsumer", volume=volume, notes={SELECTED_NODE: "n1"}))
    assert found is not None and (found.blocked, found.chosen, found.to_pin) == ("", "n1", ("c",))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, 'persistentvolumeclaim "c" not found'),
        (claim(mode="Immediate"), "pod has unbound immediate PersistentVolumeClaims"),
        (claim(mode="no such class"), "pod has unbound immediate PersistentVolumeClaims"),
        (claim(mode="WaitForFirstConsumer", volume="by-hand"), "pod has unbound immediate PersistentVolumeClaims"),
        (claim(mode="Immediate", volume="gone", phase="Bound"), "bound to non-existent pv(s)"),
    ],
)
def test_what_blocks_whatever_the_node(found: PersistentVolumeClaim | None, text: str) -> None:
    seen = needs(found)
    assert seen is not None and text in seen.blocked


def test_a_bound_claim_brings_its_volume() -> None:
    volume = PersistentVolume(metadata=ObjectMeta(name="pv-1"))
    found = needs(claim(mode="Immediate", volume="pv-1", phase="Bound"), volume)
    assert found == VolumeNeeds(bound=(volume,))
    assert needs_of(replace(POD, spec=PodSpec()), lambda *_: None, lambda _: None, CLASSES.get, ()) is None
