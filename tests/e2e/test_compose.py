"""The clusters of docker-compose.yml and docker-compose.ha.yml: every promise of the demo, by kubectl-lite and by kubectl,
and what the second one is for: one of each part is killed, and nobody is told no for longer than seconds.
"""

import json
import re
import subprocess
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from sampan.cluster import ROOT, check
from sampan.cluster_compose import IMAGE, ComposeCluster, docker
from sampan.demo import KUBECTL_LITE
from sampan.load import main as load_image
from tests.support.compose import Place, running

pytestmark = [pytest.mark.e2e, pytest.mark.compose, pytest.mark.timeout(900)]

QUICK = {"SAMPAN_NODE_MONITOR_GRACE": "8", "SAMPAN_NODE_LEASE": "2"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(False, id="one-of-each"),
        pytest.param(True, id="ha"),
    ],
)
def cluster(
    request: pytest.FixtureRequest, compose_image: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeCluster]:
    ha = bool(request.param)
    place = Place("ha", 78) if ha else Place("one", 79)
    with running(place, tmp_path_factory.mktemp("compose") / "state", ha=ha, monitoring=ha, settings=QUICK) as cluster:
        yield cluster


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


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["sampan-test/nobody-has-it:1"], "the engine has no image sampan-test/nobody-has-it:1; build it"),
        (
            ["sampan/busybox:1", "--project=sampan-test-none"],
            "no node of a compose cluster 'sampan-test-none' runs here",
        ),
    ],
)
def test_what_cannot_be_loaded_is_told(
    words: Sequence[str], complaint: str, compose_image: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert load_image(words) == 1
    assert complaint in capsys.readouterr().err


def kubectl(cluster: ComposeCluster, *words: str) -> str:
    command = [*KUBECTL_LITE, f"--kubeconfig={cluster.kubeconfig}", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def servers(cluster: ComposeCluster) -> set[str]:
    """As the `kubernetes` service tells them."""
    found = json.loads(kubectl(cluster, "get", "endpointslice", "kubernetes", "-o", "json"))
    return {address for endpoint in found["endpoints"] for address in endpoint["addresses"]}


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


POD = """
apiVersion: v1
kind: Pod
metadata:
  name: asking
  annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: c
      image: sampan/busybox:1
      command: [sh, -c, "mkdir /www; echo told_by_a_pod 1 >/www/metrics; exec httpd -f -p 8080 -h /www"]
"""


@pytest.fixture
def pod(cluster: ComposeCluster, tmp_path: Path) -> Iterator[str]:
    """One that tells a metric, and can open connections."""
    (tmp_path / "pod.yaml").write_text(POD)
    kubectl(cluster, "apply", "-f", str(tmp_path / "pod.yaml"))
    try:
        kubectl(cluster, "wait", "pod/asking", "--for=condition=Ready", "--timeout=30s")
        yield "asking"
    finally:
        kubectl(cluster, "delete", "pod", "asking")


def test_a_dead_api_server_leaves_the_service_and_pods_reach_the_other(cluster: ComposeCluster, pod: str) -> None:
    both = {cluster.address("apiserver"), cluster.address("apiserver-2")} if is_ha(cluster) else set()
    if not both:
        pytest.skip("there is only one")
    within(20, lambda: servers(cluster) == both, "both in the service")
    lost = cluster.address("apiserver")
    docker("kill", cluster.container("apiserver"))
    try:
        gone = within(30, lambda: lost not in servers(cluster), "the dead one's address gone")
        asked = "for n in 1 2 3 4 5 6 7 8 9 10; do nc -w 2 10.96.0.1 443 </dev/null && echo reached; done"

        def all_reach() -> bool:
            return kubectl(cluster, "exec", pod, "--", "sh", "-c", asked).count("reached") == 10

        reached = within(30, all_reach, "ten connections in a row from a pod")
        by_other = ["kubectl", f"--kubeconfig={cluster.kubeconfig}", "--context=sampan-2", "get", "nodes"]
        assert "node-1" in subprocess.run(by_other, check=True, capture_output=True, text=True, timeout=60).stdout
        print(f"out of the service after {gone:.1f} s, all connections of a pod succeed {reached:.1f} s later")
        assert gone < 20
    finally:
        docker("start", cluster.container("apiserver"))
    print(f"back after {within(30, lambda: servers(cluster) == both, 'both again'):.1f} s")


@pytest.mark.parametrize("policy", ["Default", "ClusterFirst"])
def test_a_pod_asks_the_resolver_of_its_node(cluster: ComposeCluster, policy: str, tmp_path: Path) -> None:
    """Docker's, which knows the containers beside the node by name, and answers on the node's loopback only."""
    (tmp_path / "pod.yaml").write_text(POD.replace("spec:\n", f"spec:\n  dnsPolicy: {policy}\n"))
    kubectl(cluster, "apply", "-f", str(tmp_path / "pod.yaml"))
    try:
        kubectl(cluster, "wait", "pod/asking", "--for=condition=Ready", "--timeout=30s")
        said = kubectl(cluster, "exec", "asking", "--", "sh", "-c", "cat /etc/resolv.conf; nslookup etcd. 2>&1 || true")
        assert cluster.address("etcd") in said, said
        assert "nameserver 127." not in said
    finally:
        kubectl(cluster, "delete", "pod", "asking")


def is_ha(cluster: ComposeCluster) -> bool:
    return "apiserver-2" in cluster.compose("config", "--services").split()


def prometheus(cluster: ComposeCluster, path: str) -> Any:
    port = cluster.compose("port", "prometheus", "9090").strip().rpartition(":")[2]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/{path}", timeout=10) as answer:
        return json.load(answer)["data"]


JOBS = {
    "apiserver": 2, "etcd": 3, "kube-scheduler": 2, "kube-controller-manager": 2, "node": 3, "pod": 1, "prometheus": 1
}  # fmt: skip


def test_prometheus_scrapes_all_and_tells_of_a_node_that_stops(cluster: ComposeCluster, pod: str) -> None:
    if not is_ha(cluster):
        pytest.skip("no Prometheus beside this one")

    def targets() -> list[dict[str, Any]]:
        return [t for t in prometheus(cluster, "targets")["activeTargets"] if t["health"] == "up"]

    def all_up() -> bool:
        return Counter(target["labels"]["job"] for target in targets()) == JOBS

    within(90, all_up, "every target up")
    assert len(prometheus(cluster, "targets")["activeTargets"]) == sum(JOBS.values())
    rules = [rule for group in prometheus(cluster, "rules")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, [r["lastError"] for r in rules if "lastError" in r]
    told = set(prometheus(cluster, "label/__name__/values"))
    wanted = {name for rule in rules for name in re.findall(r"\betcd_(?:server|disk|mvcc)\w+", rule["query"])}
    assert wanted and wanted | {"told_by_a_pod"} <= told, "etcd and pods tell what the rules ask for"

    def firing() -> set[str]:
        alerts = prometheus(cluster, "alerts")["alerts"]
        return {
            a["labels"].get("instance", "by its condition alone")
            for a in alerts
            if a["labels"]["alertname"] == "NodeNotReady" and a["state"] == "firing"
        }

    node = json.loads(kubectl(cluster, "get", "pod", pod, "-o", "json"))["spec"]["nodeName"]
    victim = next(name for name in cluster.nodes if name != node)
    within(60, lambda: not firing(), "nobody missed")
    cluster.lose_node(victim)
    try:
        print(f"told after {within(120, lambda: firing() == {victim}, 'the alert'):.1f} s")
    finally:
        cluster.revive_node(victim)
    print(f"quiet {within(90, lambda: not firing(), 'its end'):.1f} s after the node is back")


def test_the_cases_of_the_alerts_hold(compose_image: None) -> None:
    mount = f"{ROOT / 'monitoring'}:/monitoring:ro"
    docker("run", "--rm", "--network=none", "-v", mount, "-w", "/monitoring", "--entrypoint", "promtool", IMAGE,
           "test", "rules", "alerts_test.yml")  # fmt: skip


def test_one_of_each_part_may_die(cluster: ComposeCluster, tmp_path: Path) -> None:
    """By force, all at once: an API server, an etcd member, the leading scheduler and the leading controllers."""
    if not is_ha(cluster):
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
