"""What is stored but not acted on is told; the tables name only what exists."""

import pytest

from controlplane.apiserver.notices import _TEMPLATES, FIELDS, KINDS, POD_SPEC, VALUES, notices
from kubeapi.schema import field_at
from kubeapi.scheme import SCHEME
from kubeapi.types import core_v1, meta_v1, networking_v1

KNOWN = {r.qualified: r for r in SCHEME.resources}


@pytest.mark.parametrize("qualified", [*KINDS, *FIELDS, *VALUES, *_TEMPLATES])
def test_every_kind_of_the_tables_is_served(qualified: str) -> None:
    assert qualified in KNOWN


@pytest.mark.parametrize("path", POD_SPEC)
def test_every_path_of_the_table_is_a_field_of_a_pod(path: str) -> None:
    assert field_at(core_v1.PodSpec, tuple(path.replace("[]", "").split("."))) is not None


def test_a_field_is_told_with_its_path_and_an_empty_one_is_not() -> None:
    volume = core_v1.Volume(name="v", nfs=core_v1.NFSVolumeSource(server="s", path="/"))
    pod = core_v1.Pod(spec=core_v1.PodSpec(volumes=[core_v1.Volume(name="a"), volume]))
    assert list(notices("pods", pod)) == ["spec.volumes[1].nfs: no such volume plug-in: the pod will wait"]
    assert list(notices("pods", core_v1.Pod())) == []


def test_a_kind_and_a_value_are_told() -> None:
    ingress = networking_v1.Ingress(metadata=meta_v1.ObjectMeta(name="i"))
    assert "no ingress controller" in next(notices("ingresses.networking.k8s.io", ingress))
    service = core_v1.Service(spec=core_v1.ServiceSpec(type="LoadBalancer"))
    assert next(notices("services", service)).startswith("spec.type: LoadBalancer: no load balancer")
