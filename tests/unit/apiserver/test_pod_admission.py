"""A new pod's priority, token and pull secrets."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.apiserver.strategies.pod_admission import (
    TOKEN_PATH,
    Surroundings,
    account_of,
    class_of,
    has_ca,
    with_account,
    with_priority,
)
from kubeapi.errors import Forbidden
from kubeapi.meta import replace
from kubeapi.types import core_v1, meta_v1, scheduling_v1


def priority_class(name: str, value: int, **fields: Any) -> scheduling_v1.PriorityClass:
    return scheduling_v1.PriorityClass(metadata=meta_v1.ObjectMeta(name=name), value=value, **fields)


def around(*objects: Any) -> Surroundings:
    kinds = {"PriorityClass": "scheduling.k8s.io/priorityclasses", "ServiceAccount": "core/serviceaccounts"}
    held = {}
    for o in objects:
        namespace = f"{o.metadata.namespace}/" if o.metadata.namespace else ""
        held[f"/registry/{kinds.get(o.kind, 'core/configmaps')}/{namespace}{o.metadata.name}"] = o
    return Surroundings(find=held.get, every=lambda prefix: [o for k, o in held.items() if k.startswith(prefix)])


def spec(**fields: Any) -> core_v1.PodSpec:
    return core_v1.PodSpec(
        containers=[core_v1.Container(name="c", image="i")], service_account_name="default", **fields
    )


def prioritised(spec: core_v1.PodSpec, *classes: Any) -> core_v1.PodSpec:
    return with_priority(spec, class_of(spec, around(*classes)))


def test_priority_is_the_classs_the_defaults_or_none() -> None:
    high, usual = (
        priority_class("high", 1000, preemption_policy="Never"),
        priority_class("usual", 5, global_default=True),
    )
    found = prioritised(spec(priority_class_name="high"), high, usual)
    assert (found.priority, found.preemption_policy) == (1000, "Never")
    assert prioritised(spec(), high, usual).priority_class_name == "usual"
    assert prioritised(spec(), high).priority == 0
    with pytest.raises(Forbidden, match="no PriorityClass with name low was found"):
        prioritised(spec(priority_class_name="low"), high)
    with pytest.raises(Forbidden, match=r"the integer value of priority \(7\) must not be provided"):
        prioritised(spec(priority=7))


def account(**fields: Any) -> core_v1.ServiceAccount:
    return core_v1.ServiceAccount(metadata=meta_v1.ObjectMeta(name="default", namespace="d"), **fields)


def accounted(spec: core_v1.PodSpec, *held: Any) -> core_v1.PodSpec:
    found = account_of(spec, "d", around(*held))
    return spec if found is None else with_account(spec, found, lambda: "x", has_ca("d", around(*held)))


CA = core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="kube-root-ca.crt", namespace="d"))


@pytest.mark.parametrize(
    ("pod", "held", "expected"),
    [
        (None, (account(), CA), True),
        (None, (account(automount_service_account_token=False), CA), False),
        (True, (account(automount_service_account_token=False), CA), True),
        (False, (account(), CA), False),
        (None, (account(),), False),
        (None, (CA,), False),
    ],
)
def test_the_accounts_token_is_mounted(pod: bool | None, held: tuple[Any, ...], expected: bool) -> None:
    wanted = spec(automount_service_account_token=pod)
    made = accounted(wanted, *held)
    assert [m.mount_path for m in made.containers[0].volume_mounts] == ([TOKEN_PATH] if expected else [])
    assert [v.name for v in made.volumes] == (["kube-api-access-x"] if expected else [])


def test_a_mount_of_ones_own_stays_and_pull_secrets_come_from_the_account() -> None:
    mine = core_v1.VolumeMount(name="t", mount_path=TOKEN_PATH)
    base = spec()
    own = replace(base, containers=[replace(base.containers[0], volume_mounts=[mine])])
    secret = core_v1.LocalObjectReference(name="s")
    made = accounted(own, account(image_pull_secrets=[secret]), CA)
    assert made.volumes == [] and made.image_pull_secrets == [secret]
