"""What `sampan up` finds again after kill -9 and after a reboot, and what it takes away when fewer nodes are wanted."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from sampan import cluster_machine
from sampan.cluster_layout import ADMIN, Layout
from tests.e2e.conftest import Kubectl, sampan

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: lasting}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {name: main, image: "sampan/busybox:1", command: [sleep, "86400"]}
"""
READY = ("wait", "pod/lasting", "--for=condition=Ready", "--timeout=60s")


@pytest.fixture
def client(layout: Layout) -> Kubectl:
    made = Kubectl(Path(sys.executable).parent / "kubectl-lite", layout.kubeconfig(ADMIN), "default")
    made("apply", "-f", "-", stdin=POD)
    made(*READY)
    return made


def uid(client: Kubectl) -> str:
    return client("get", "pod", "lasting", "-o", "jsonpath={.metadata.uid}")


def processes(layout: Layout) -> list[int]:
    return [int(line.split()[0]) for line in layout.pids.read_text().splitlines()]


def kill(layout: Layout) -> None:
    """The supervisor first, so that it starts nothing again."""
    everything = [int(layout.lock.read_text()), *processes(layout)]
    handles = [os.pidfd_open(pid) for pid in everything]
    for handle in handles:
        signal.pidfd_send_signal(handle, signal.SIGSTOP)
    for handle in handles:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def test_after_kill_9_of_everything_pods_have_gone_on(layout: Layout, client: Kubectl) -> None:
    before = uid(client), client("get", "pod", "lasting", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
    kill(layout)
    sampan(layout, "up")
    client(*READY)
    now = uid(client), client("get", "pod", "lasting", "-o", "jsonpath={.status.containerStatuses[0].containerID}")
    assert now == before


def test_after_a_reboot_pods_run_again(layout: Layout, client: Kubectl) -> None:
    before = uid(client)
    kill(layout)
    engine = docker.from_env()
    try:
        for container in engine.containers.list(filters={"label": "sampan.dev/node"}):
            if container.labels["sampan.dev/node"] in cluster_machine.nodes():
                container.kill()
    finally:
        engine.close()
    cluster_machine.remove()
    sampan(layout, "up")
    again = "--for=jsonpath={.status.containerStatuses[0].restartCount}=1"
    client("wait", "pod/lasting", again, "--timeout=60s")
    client(*READY)
    assert uid(client) == before


def test_down_of_another_directory_leaves_the_running_cluster_alone(layout: Layout, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sampan", "down", f"--data-dir={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and str(layout.directory) in done.stderr
    assert cluster_machine.nodes() == {"node-1", "node-2", "node-3"}


def test_nodes_no_longer_wanted_leave_nothing(layout: Layout, client: Kubectl) -> None:
    kill(layout)
    sampan(layout, "up", "--nodes=2")
    assert cluster_machine.nodes() == {"node-1", "node-2"}
    bridge = Path("/sys/class/net") / cluster_machine.BRIDGE
    given = (bridge / "address").read_text().strip(), (bridge / "addr_assign_type").read_text().strip()
    assert given == (cluster_machine.BRIDGE_MAC, "3"), "set, not a port's: else those left would not find the machine"
    engine = docker.from_env()
    try:
        assert not engine.containers.list(all=True, filters={"label": "sampan.dev/node=node-3"})
    finally:
        engine.close()


def test_what_another_killed_cluster_left_is_cleared_away(layout: Layout, client: Kubectl, tmp_path: Path) -> None:
    """Its namespaces carry addresses that another cluster's nodes may be given."""
    kill(layout)
    other = Layout(tmp_path / "other")
    said = sampan(other, "up", "--nodes=2")
    try:
        assert f"cleared away 2 nodes that the cluster of {layout.directory} left behind" in said
        web = Kubectl(client.path, other.kubeconfig(ADMIN), "default")
        web("apply", "-f", "-", stdin=POD)
        web(*READY)
    finally:
        sampan(other, "down")
    sampan(layout, "up")
    client(*READY)
