"""The clusters of docker-compose.yml and docker-compose.ha.yml: every promise of the demo, by kubectl-lite and by kubectl,
and what the second one is for: one of each part is killed, and nobody is told no for longer than seconds.
"""

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from sampan.cluster import ROOT, check
from sampan.cluster_compose import ComposeCluster, docker
from sampan.demo import KUBECTL_LITE
from sampan.load import main as load_image
from tests.support.compose import Place

pytestmark = [pytest.mark.e2e, pytest.mark.compose, pytest.mark.timeout(900)]

QUICK = {"SAMPAN_NODE_MONITOR_GRACE": "8", "SAMPAN_NODE_LEASE": "2"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="one-of-each", marks=pytest.mark.xdist_group("compose-one")),
        pytest.param(True, id="ha", marks=pytest.mark.xdist_group("compose-ha")),
    ],
)
def cluster(
    request: pytest.FixtureRequest, compose_image: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeCluster]:
    ha = bool(request.param)
    place = Place("ha", 78, 17543) if ha else Place("one", 79, 17443)
    state = tmp_path_factory.mktemp("compose") / "state"
    made = ComposeCluster(root=ROOT, ha=ha, state=state, project=place.project, settings={**QUICK, **place.settings})
    try:
        print(made.up())
        yield made
    finally:
        made.down()


@pytest.mark.parametrize("client", [KUBECTL_LITE, ("kubectl",)], ids=["kubectl-lite", "kubectl"])
def test_every_promise_of_the_demo_holds(
    cluster: ComposeCluster, client: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(cluster, client) == 0, capsys.readouterr().out


def test_an_image_is_loaded_into_every_node(cluster: ComposeCluster, capsys: pytest.CaptureFixture[str]) -> None:
    name = f"sampan-test/{cluster.project}:1"
    docker("tag", "sampan/busybox:1", name)
    try:
        assert load_image([name, f"--project={cluster.project}"]) == 0
        said = capsys.readouterr().out
        for node in cluster.nodes:
            assert f"{cluster.container(node)} has it" in said
            assert docker("exec", cluster.container(node), "docker", "images", "-q", name).strip()
    finally:
        docker("rmi", name)


def kubectl(cluster: ComposeCluster, *words: str) -> str:
    command = [*KUBECTL_LITE, f"--kubeconfig={cluster.kubeconfig}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def within(seconds: float, look: Callable[[], bool], what: str) -> float:
    begun = monotonic()
    while monotonic() - begun < seconds:
        try:
            if look():
                return monotonic() - begun
        except subprocess.CalledProcessError:
            pass
        sleep(0.2)  # Other processes' doing, seen only by asking.
    raise AssertionError(f"not within {seconds} s: {what}")


def test_one_of_each_part_may_die(cluster: ComposeCluster, tmp_path: Path) -> None:
    """By force, all at once: an API server, an etcd member, the leading scheduler and the leading controllers."""
    services = cluster.compose("config", "--services").split()
    if "apiserver-2" not in services:
        pytest.skip("there is only one of each")

    def holder(lease: str) -> str:
        found = json.loads(kubectl(cluster, "get", "lease", lease, "-n", "kube-system", "-o", "json"))
        return str(found["spec"]["holderIdentity"])

    leases = ("kube-scheduler", "kube-controller-manager")
    before = {lease: holder(lease) for lease in leases}
    leaders = [holding.split("_")[0] for holding in before.values()]
    victims = [cluster.container("apiserver"), cluster.container("etcd"), *leaders]
    docker("kill", *victims)
    try:
        answered = within(30, lambda: "node-1" in kubectl(cluster, "get", "nodes"), "an answer")
        moved = within(
            60, lambda: all(holder(lease) not in ("", before[lease]) for lease in leases), "new leaders of both"
        )
        kubectl(
            cluster, "create", "deployment", "after", "--image=sampan/busybox:1", "--replicas=3", "--", "sleep", "99"
        )
        kubectl(cluster, "rollout", "status", "deployment/after", "--timeout=45s")
        print(f"answers after {answered:.1f} s, new leaders after {moved:.1f} s")
        kubectl(cluster, "delete", "deployment", "after")
    finally:
        docker("start", *victims)
