"""A whole cluster in one process, on this machine's own network: pods, a service by every way in, an end by force, and the end."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kubeapi.client.grpc_client import connect
from kubeapi.client.kubeconfig import load
from kubeapi.types import core_v1
from sampan import cluster_machine
from sampan.cluster_layout import ADMIN, Layout
from sampan.demo import leftovers
from tests.e2e.conftest import Kubectl, sampan
from tests.support.ports import free_ports
from tests.support.until import until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

NAME = "alone"
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: main
          image: sampan/busybox:1
          command: [sh, -c, "hostname > /www/index.html; echo serving; exec httpd -f -p 8080 -h /www"]
          volumeMounts: [{name: www, mountPath: /www}]
          readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}
      volumes: [{name: www, emptyDir: {}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30480}]
"""


class Alone:
    """The process, and what it says."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.start(f"--name={NAME}", f"--port={free_ports(2)[0]}")

    def start(self, *flags: str) -> None:
        """Without flags: as it was at the first start."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sampan", "standalone", f"--data-dir={self.layout.directory}", *flags],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = []
        with self.process.stdout as lines:
            for line in lines:
                said.append(line)
                if line.startswith("export KUBECONFIG="):
                    return
        pytest.fail(f"it ended: {self.process.wait()}, after {said}")

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(20)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    made = Alone(Layout(tmp_path_factory.mktemp("standalone") / "cluster"))
    try:
        yield made
    finally:
        sampan(made.layout, "down")
        made.process.wait(20)
    assert leftovers(made.layout, [NAME]) == []
    assert "sampan" not in cluster_machine.run("iptables", "-S", "FORWARD")


@pytest.fixture(scope="module")
def client(alone: Alone) -> Kubectl:
    made = Kubectl(Path(sys.executable).parent / "kubectl-lite", alone.layout.kubeconfig(ADMIN), "default")
    made("apply", "-f", "-", stdin=WEB)
    made("rollout", "status", "deployment/web", "--timeout=60s")
    return made


def pods(client: Kubectl) -> list[str]:
    return client("get", "pods", "-l", "app=web", "-o", "jsonpath={.items[*].metadata.name}").split()


def containers(client: Kubectl) -> set[str]:
    return set(client("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].containerID}").split())


def wait(alone: Alone, test: Callable[[set[str]], bool], count: int) -> set[str]:
    """The containers, as soon as `count` pods are ready in such as pass. A pod shows no container while it gets a new one, and
    the old one until the agent has looked at it."""

    def told(pods: list[core_v1.Pod]) -> set[str]:
        ready = [s.container_id for p in pods for s in p.status.container_statuses if s.ready]
        return set(ready) if len(ready) == len(pods) == count else set()

    async def watched() -> list[core_v1.Pod]:
        config = load(str(alone.layout.kubeconfig(ADMIN)))
        async with connect(config.grpc, ca=config.ca, cert=config.cert, key=config.key) as client:
            return await until(client, core_v1.Pod, lambda pods: bool(ids := told(pods)) and test(ids), seconds=60)

    return told(asyncio.run(watched()))


def running() -> set[str]:
    """The pods' containers that the engine runs, by what it says itself."""
    filters = ("--filter", f"label=sampan.dev/node={NAME}", "--filter", "label=sampan.dev/kind=app")
    return {f"docker://{i}" for i in cluster_machine.run("docker", "ps", "-q", "--no-trunc", *filters).split()}


def by_node_port() -> str:
    with urllib.request.urlopen(f"http://{cluster_machine.own_address()}:30480/", timeout=5) as reply:
        return str(reply.read().decode().strip())


def test_the_service_answers_by_the_machines_port_and_by_its_name_in_pods(client: Kubectl) -> None:
    known = pods(client)
    assert by_node_port() in known
    asker, other = known
    assert client("exec", asker, "--", "timeout", "5", "wget", "-qO-", "http://web").strip() in known
    address = client("get", "pod", other, "-o", "jsonpath={.status.podIP}")
    said = client("exec", asker, "--", "timeout", "5", "wget", "-qO-", f"http://{address}:8080").strip()
    assert said == other, "from pod to pod, past a dockerd that drops what it does not know"
    assert client("logs", asker).strip() == "serving"


def test_pods_reach_the_api_server_by_the_service_of_their_cluster(client: Kubectl) -> None:
    [asker, _] = pods(client)
    said = client("exec", asker, "--", "sh", "-c", "timeout 5 nc kubernetes.default 443 </dev/null && echo open")
    assert said.strip() == "open"


def test_a_second_cluster_on_the_same_machine_is_refused(alone: Alone, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sampan"]
    for words in (["up", f"--data-dir={tmp_path}"], ["standalone", f"--data-dir={tmp_path}", "--name=other"]):
        done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert f"another cluster runs on this machine: {alone.layout.directory}" in done.stderr


def test_after_kill_9_the_same_containers_go_on_and_answer_meanwhile(alone: Alone, client: Kubectl) -> None:
    before = containers(client)
    alone.end(signal.SIGKILL)
    assert by_node_port().startswith("web-"), "with nobody there to watch over it"
    alone.start()
    client("rollout", "status", "deployment/web", "--timeout=60s")
    assert containers(client) == before
    assert by_node_port() in pods(client)
    client("scale", "deployment/web", "--replicas=3")
    client("rollout", "status", "deployment/web", "--timeout=60s")
    assert len(containers(client)) == 3 and before < containers(client)
    assert running() == containers(client)


def test_one_that_was_killed_leaves_nothing_to_the_next_cluster(alone: Alone, client: Kubectl, tmp_path: Path) -> None:
    before = containers(client)
    alone.end(signal.SIGKILL)
    other = Layout(tmp_path / "cluster")
    said = sampan(other, "up", "--nodes=1")
    assert f"cleared away 1 nodes that the cluster of {alone.layout.directory} left behind" in said
    assert cluster_machine.run("docker", "ps", "-q", "--filter", f"label=sampan.dev/node={NAME}") == ""
    assert "sampan-br" not in cluster_machine.run("ip", "-br", "link")
    sampan(other, "down")
    assert leftovers(other, ["node-1"]) == []
    alone.start()
    assert len(pods(client)) == 3, "objects are in its directory"
    assert wait(alone, before.isdisjoint, 3) == running(), "and get containers anew"


def test_its_directory_is_no_other_commands(alone: Alone, client: Kubectl) -> None:
    before = containers(client)
    assert alone.end(signal.SIGTERM) == 0, "a wish to end is no failure"
    assert running() == before, "nor is it one to the pods"
    command = [sys.executable, "-m", "sampan"]
    for words, why in (
        (["up"], "holds a cluster of `sampan standalone`"),
        (["standalone", "--name=other"], f"holds a cluster of `sampan standalone --name {NAME} --runtime docker"),
        (["standalone", f"--name={NAME}", "--runtime=hollow"], f"holds a cluster of `sampan standalone --name {NAME} "),
        (["standalone", "--store=memory:"], f"holds a cluster of `sampan standalone --name {NAME} "),
    ):
        where = f"--data-dir={alone.layout.directory}"
        done = subprocess.run([*command, *words, where], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and why in done.stderr, done.stderr
    alone.start()
    client("exec", pods(client)[0], "--", "true")
    assert wait(alone, before.__eq__, 3) == running()
