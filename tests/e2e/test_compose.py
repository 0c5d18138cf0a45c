"""The clusters of docker-compose.yml and docker-compose.ha.yml: every promise of the demo, by kubectl-lite and by kubectl,
and what the second one is for: one of each part is killed, and nobody is told no for longer than seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from sampan.cluster import ROOT, check
from sampan.cluster_compose import PROJECT, ComposeCluster, docker
from sampan.demo import KUBECTL_LITE
from sampan.load import main as load_image

pytestmark = [pytest.mark.e2e, pytest.mark.compose, pytest.mark.timeout(900)]

SETTINGS = {
    "SAMPAN_NODE_MONITOR_GRACE": "8",
    "SAMPAN_NODE_LEASE": "2",
    "SAMPAN_PORT": "17443",
    "SAMPAN_GRPC_PORT": "17444",
    "SAMPAN_PORT_2": "17445",
    "SAMPAN_GRPC_PORT_2": "17446",
    "SAMPAN_SUBNET": "172.31.78",
}


@pytest.fixture(scope="module")
def image() -> None:
    done = subprocess.run(
        [ROOT / "images" / "build"], capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module", params=["one of each", "ha"])
def cluster(
    request: pytest.FixtureRequest, image: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeCluster]:
    state = tmp_path_factory.mktemp("compose") / "state"
    made = ComposeCluster(
        root=ROOT, ha=request.param == "ha", state=state, project=f"{PROJECT}-test", settings=SETTINGS
    )
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


def test_an_image_is_loaded_into_every_node(cluster: ComposeCluster) -> None:
    name = "sampan-test/loaded:1"
    docker("tag", "sampan/cluster:1", name)
    try:
        assert load_image([name]) == 0
        for node in cluster.nodes:
            assert docker("exec", f"{PROJECT}-test-{node}-1", "docker", "images", "-q", name).strip()
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
    victims = [f"{PROJECT}-test-apiserver-1", f"{PROJECT}-test-etcd-1", *leaders]
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
