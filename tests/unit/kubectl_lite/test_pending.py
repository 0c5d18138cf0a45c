"""Why a pod waits: each kind of reason, and the same nodes as the scheduler's own filters."""

from hypothesis import given
from hypothesis import strategies as st

from controlplane.scheduler.explain import explain
from controlplane.scheduler.snapshot import Snapshot
from kubeapi import codec
from kubeapi.types import core_v1, meta_v1, storage_v1
from kubectl_lite.pending import Situation, everywhere, of_node, unstarted
from tests.support.make import make_node, make_pod

TAINT = core_v1.Taint(key="gpu", value="yes", effect="NoSchedule")
TOLERATION = core_v1.Toleration(key="gpu", operator="Exists")
ZONES = st.sampled_from([{}, {"zone": "a"}, {"zone": "b"}])
CPU = st.sampled_from(["100m", "500m", "1", "3"])
PORT = st.sampled_from([0, 0, 80, 443])


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[core_v1.Node], list[core_v1.Pod], core_v1.Pod]:
    nodes = [
        make_node(
            f"n{i}",
            cpu=draw(st.sampled_from(["1", "2", "4"])),
            labels=draw(ZONES),
            taints=[TAINT] if draw(st.booleans()) else [],
            unschedulable=draw(st.booleans()),
        )
        for i in range(draw(st.integers(1, 4)))
    ]
    pods = [
        make_pod(
            f"p{i}", node=draw(st.sampled_from(nodes)).metadata.name, requests={"cpu": draw(CPU)}, host_port=draw(PORT)
        )
        for i in range(draw(st.integers(0, 4)))
    ]
    tolerations = [TOLERATION] if draw(st.booleans()) else []
    pod = make_pod(
        "new", requests={"cpu": draw(CPU)}, host_port=draw(PORT), node_selector=draw(ZONES), tolerations=tolerations
    )
    return nodes, pods, pod


@given(clusters())
def test_the_same_nodes_are_refused_as_by_the_scheduler(
    cluster: tuple[list[core_v1.Node], list[core_v1.Pod], core_v1.Pod],
) -> None:
    nodes, pods, pod = cluster
    snapshot = Snapshot()
    for node in nodes:
        snapshot.put_node(node)
    for one in pods:
        snapshot.put_pod(one)
    theirs = {found.node: bool(found.reasons) for found in explain(snapshot, pod)}
    ours = {node.metadata.name: bool(of_node(pod, node, Situation(nodes, pods))) for node in nodes}
    assert ours == theirs


def texts(pod: core_v1.Pod, node: core_v1.Node, *pods: core_v1.Pod) -> list[tuple[str, str]]:
    return [(r.why, r.change) for r in of_node(pod, node, Situation([node], pods))]


def test_a_reason_has_its_quantities_and_what_would_help() -> None:
    node = make_node("n", cpu="2", labels={"disk": "hdd"}, taints=[TAINT], unschedulable=True)
    pod = make_pod("p", requests={"cpu": "1"}, host_port=80, node_selector={"disk": "ssd"})
    other = make_pod("o", node="n", requests={"cpu": "1500m"}, host_port=80)
    assert texts(pod, node, other) == [
        ("the node is cordoned", "kubectl-lite uncordon n"),
        ("taint gpu=yes:NoSchedule", "tolerate it, or kubectl-lite taint nodes n gpu=yes:NoSchedule-"),
        ("nodeSelector wants disk=ssd, the node has disk=hdd", "kubectl-lite label nodes n disk=ssd --overwrite"),
        ("cpu: 1 asked for, 500m free (1500m of 2 taken)", "ask for less, or free 500m"),
        ("host port 80/TCP is taken by default/o", "use another hostPort, or none"),
    ]
    assert texts(make_pod("p", requests={"cpu": "3"}), make_node("m", cpu="2")) == [
        ("cpu: 3 asked for, 2 free (0 of 2 taken)", "ask for at most 2: the whole node has no more")
    ]


def claiming(name: str = "data") -> core_v1.Pod:
    source = core_v1.PersistentVolumeClaimVolumeSource(claim_name=name)
    made = make_pod("p")
    raw = codec.to_builtins(made)
    raw["spec"]["volumes"] = [{"name": "v", "persistentVolumeClaim": codec.to_builtins(source)}]
    return codec.from_builtins(core_v1.Pod, raw)


def test_claims_are_told_of() -> None:
    nodes = [make_node("n")]
    claim = core_v1.PersistentVolumeClaim(
        metadata=meta_v1.ObjectMeta(name="data"),
        spec=core_v1.PersistentVolumeClaimSpec(access_modes=["ReadWriteOnce"], storage_class_name="slow"),
    )
    slow = storage_v1.StorageClass(metadata=meta_v1.ObjectMeta(name="slow"), provisioner="x")
    waiting = storage_v1.StorageClass(
        metadata=meta_v1.ObjectMeta(name="slow"), provisioner="x", volume_binding_mode="WaitForFirstConsumer"
    )

    def why(**now: object) -> list[str]:
        return [r.why for r in everywhere(claiming(), Situation(nodes, **now))]  # type: ignore[arg-type]

    assert why() == ['persistentvolumeclaim "data" not found']
    assert why(claims={"data": claim}) == ["claim data is not bound: there is no storage class slow"]
    assert "no free volume has class slow" in why(claims={"data": claim}, classes={"slow": slow})[0]
    assert why(claims={"data": claim}, classes={"slow": waiting}) == []


def test_after_a_node_is_chosen_containers_tell() -> None:
    waiting = core_v1.ContainerStateWaiting(reason="ImagePullBackOff", message="no such image")
    raw = codec.to_builtins(make_pod("p", node="n"))
    state = {"name": "c", "image": "i", "state": {"waiting": codec.to_builtins(waiting)}}
    raw["status"] = {"phase": "Pending", "containerStatuses": [state]}
    (reason,) = unstarted(codec.from_builtins(core_v1.Pod, raw))
    assert reason.why == "container c: ImagePullBackOff: no such image" and "image" in reason.change
