"""Claims and volumes, decided without a cluster."""

from typing import Any

import pytest

from controlplane.controllers.volumes.ephemeral import claims_for
from controlplane.controllers.volumes.plan import ClaimPlan, plan_claim, plan_volume, reference_to
from kubeapi.claims import (
    NO_PROVISIONER,
    PROVISIONED_BY,
    PROVISIONER,
    RECLAIM,
    SELECTED_NODE,
    VOLUME_NODE,
    VOLUME_PROTECTION,
)
from kubeapi.meta import replace
from kubeapi.types import core_v1, storage_v1
from kubeapi.types.meta_v1 import LabelSelector
from tests.support.make import NOW, make_claim, make_node, make_pod, make_volume, meta

NODES = [make_node("a"), make_node("b")]


def storage_class(mode: str = "Immediate", provisioner: str = PROVISIONER) -> storage_v1.StorageClass:
    return storage_v1.StorageClass(metadata=meta("local", ""), provisioner=provisioner, volume_binding_mode=mode)


def decide(claim: core_v1.PersistentVolumeClaim, *volumes: core_v1.PersistentVolume, **kwargs: Any) -> ClaimPlan:
    class_ = kwargs.get("class_", storage_class(provisioner=NO_PROVISIONER))
    return plan_claim(claim, class_, volumes, NODES, "/volumes")


def taken(volume: core_v1.PersistentVolume, name: str, uid: str = "") -> core_v1.PersistentVolume:
    ref = core_v1.ObjectReference(kind="PersistentVolumeClaim", namespace="default", name=name, uid=uid)
    return replace(volume, spec=replace(volume.spec, claim_ref=ref))


def test_the_smallest_volume_that_suits_is_bound() -> None:
    plan = decide(make_claim(size="2Gi"), make_volume("big", "10Gi"), make_volume("fits", "3Gi"), make_volume("small"))
    assert (plan.step, plan.volume and plan.volume.metadata.name) == ("bind", "fits")


@pytest.mark.parametrize(
    "volume",
    [
        make_volume(size="500Mi"),
        make_volume(access_modes=["ReadOnlyMany"]),
        make_volume(storage_class_name="other"),
        make_volume(volume_mode="Block"),
        taken(make_volume(), "another"),
        taken(make_volume(), "data", uid="of-a-former-claim"),
        replace(make_volume(), status=core_v1.PersistentVolumeStatus(phase="Released")),
        replace(make_volume(), metadata=meta("pv", "", deletion_timestamp=NOW)),
    ],
    ids=["small", "modes", "class", "block", "another's", "former", "released", "deleted"],
)
def test_a_volume_that_does_not_suit_is_left_alone(volume: core_v1.PersistentVolume) -> None:
    plan = decide(make_claim(), volume)
    assert (plan.step, plan.reason) == ("pending", "FailedBinding")


def test_a_selector_chooses_among_labels() -> None:
    claim = make_claim(selector=LabelSelector(match_labels={"disk": "ssd"}))
    fast = replace(make_volume("fast"), metadata=meta("fast", "", labels={"disk": "ssd"}))
    plan = decide(claim, make_volume("slow"), fast)
    assert plan.volume is fast


def test_a_reserved_volume_goes_to_its_claim_and_the_smaller_one_stays() -> None:
    kept = taken(make_volume("kept", "10Gi"), "data")
    assert decide(make_claim(), make_volume("small"), kept).volume is kept
    too_small = taken(make_volume("kept", "1Mi"), "data")
    assert decide(make_claim(), too_small).step == "pending"


def test_a_claim_that_names_its_volume_gets_that_one_or_hears_why_not() -> None:
    claim = make_claim(volume_name="pv")
    assert decide(claim, make_volume("pv"), make_volume("other")).step == "bind"
    assert decide(claim, make_volume("other")).step == "pending"
    small = decide(claim, make_volume("pv", "1Mi"))
    assert (small.step, small.reason) == ("pending", "VolumeMismatch")
    assert "too small" in small.message
    assert decide(claim, taken(make_volume("pv"), "another", "u")).step == "pending"


def test_a_claim_whose_volume_has_gone_is_lost_and_never_bound_elsewhere() -> None:
    claim = replace(make_claim(volume_name="pv"), status=core_v1.PersistentVolumeClaimStatus(phase="Bound"))
    assert decide(claim, make_volume("other")).step == "lost"
    lost = replace(claim, status=core_v1.PersistentVolumeClaimStatus(phase="Lost"))
    assert decide(lost, make_volume("other")).step == "nothing"


def test_waiting_for_the_first_consumer_binds_nothing_before_a_node_is_chosen() -> None:
    waits = storage_class("WaitForFirstConsumer")
    claim = make_claim()
    assert decide(claim, make_volume(), class_=waits).step == "wait"
    chosen = replace(claim, metadata=replace(claim.metadata, annotations={SELECTED_NODE: "b"}))
    assert decide(chosen, make_volume("on-a", node="a"), make_volume("on-b", node="b"), class_=waits).volume is not None
    made = decide(chosen, make_volume("on-a", node="a"), class_=waits)
    assert made.step == "provision" and made.volume is not None
    assert made.volume.metadata.labels == {VOLUME_NODE: "b"}
    assert made.volume.metadata.finalizers == [RECLAIM]


def test_a_claim_without_class_and_volume_waits_and_one_of_an_unknown_class_hears_so() -> None:
    assert decide(make_claim(storage_class_name=""), class_=None).reason == "FailedBinding"
    assert decide(make_claim(storage_class_name="none"), class_=None).reason == "ProvisioningFailed"


def of(claim: core_v1.PersistentVolumeClaim, policy: str, by: str = PROVISIONER) -> core_v1.PersistentVolume:
    volume = make_volume("pv", persistent_volume_reclaim_policy=policy, claim_ref=reference_to(claim))
    labels, notes = {VOLUME_NODE: "a"}, {PROVISIONED_BY: by} if by else {}
    return replace(
        volume,
        metadata=meta("pv", "", labels=labels, annotations=notes, finalizers=[VOLUME_PROTECTION, RECLAIM]),
        status=core_v1.PersistentVolumeStatus(phase="Bound"),
    )


@pytest.mark.parametrize(
    ("policy", "by", "phase", "deleted"),
    [
        ("Delete", PROVISIONER, "Released", True),
        ("Delete", "elsewhere.example", "Released", False),
        ("Delete", "", "Failed", False),
        ("Retain", PROVISIONER, "Released", False),
        ("Recycle", PROVISIONER, "Failed", False),
    ],
)
def test_what_becomes_of_a_volume_without_its_claim(policy: str, by: str, phase: str, deleted: bool) -> None:
    plan = plan_volume(of(make_claim(), policy, by), None, lambda: {"a"})
    assert (plan.phase, plan.delete) == (phase, deleted)


def test_a_claim_of_the_same_name_is_not_the_claim() -> None:
    volume = of(make_claim(), "Retain")
    again = replace(make_claim(), metadata=meta("data", uid="another"))
    assert plan_volume(volume, again, lambda: {"a"}).phase == "Released"


def test_a_deleted_volume_is_protected_while_claimed_and_waits_for_its_node_afterwards() -> None:
    claim = make_claim(volume_name="pv")
    volume = of(claim, "Delete")
    going = replace(volume, metadata=replace(volume.metadata, deletion_timestamp=NOW))
    assert plan_volume(going, claim, lambda: {"a"}).finalizers is None
    assert plan_volume(going, None, lambda: {"a"}).finalizers == [RECLAIM]
    assert plan_volume(going, None, lambda: {"b"}).finalizers == []


def test_ephemeral_claims_are_made_only_for_pods_that_will_run() -> None:
    template = core_v1.PersistentVolumeClaimTemplate(spec=make_claim().spec)
    source = core_v1.EphemeralVolumeSource(volume_claim_template=template)
    pod = make_pod("p", volumes=[core_v1.Volume(name="v", ephemeral=source), core_v1.Volume(name="w")])
    (claim,) = claims_for(pod)
    assert (claim.metadata.name, claim.metadata.owner_references[0].uid) == ("p-v", "uid-p")
    assert claims_for(replace(pod, status=core_v1.PodStatus(phase="Failed"))) == []
