"""`make demo`: a cluster of three nodes from nothing, every promise checked aloud, and nothing left behind.

The checks are those of demo_checks, through kubectl-lite; here is the ground they stand on, a cluster of this machine.
"""

import argparse
import os
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import docker

from sampan import cluster_machine
from sampan.cluster_layout import ADMIN, Layout
from sampan.cluster_remains import node_names
from sampan.demo_checks import CheckError, Checklist, Checks, run_command

HELP = "show on this machine what a cluster does"
_COMPLAINTS = ("WARNING", "ERROR", "CRITICAL", "Error: ")
KUBECTL_LITE = (sys.executable, "-m", "kubectl_lite")


class MachineGround:
    """The cluster that `sampan up` made."""

    def __init__(self, layout: Layout, nodes: Sequence[str]) -> None:
        self._layout, self.nodes = layout, nodes

    def address(self, node: str) -> str:
        return cluster_machine.address(self.nodes.index(node))

    def kill_container(self, node: str, pod_uid: str) -> None:
        engine = docker.from_env()
        try:
            labels = [f"sampan.dev/pod-uid={pod_uid}", "sampan.dev/kind=app"]
            engine.containers.list(filters={"label": labels})[0].kill()
        finally:
            engine.close()

    def tag(self, old: str, new: str) -> None:
        engine = docker.from_env()
        try:
            repository, tag = new.split(":")
            engine.images.get(old).tag(repository, tag=tag)
        finally:
            engine.close()

    def lose_node(self, node: str) -> None:
        """Stopped, not ended: the supervisor starts an ended agent again within a second."""
        os.kill(self._agent(node), signal.SIGSTOP)

    def revive_node(self, node: str) -> None:
        os.kill(self._agent(node), signal.SIGCONT)

    def _agent(self, node: str) -> int:
        lines = self._layout.pids.read_text().splitlines()
        return next(int(line.split()[0]) for line in lines if line.endswith(f" {node}"))


class Demo:
    def __init__(self, *, layout: Layout, nodes: int, manifests: Path) -> None:
        self._layout, self._nodes, self._manifests = layout, nodes, manifests

    def run(self) -> int:
        checks = Checks(
            ground=MachineGround(self._layout, [f"node-{number}" for number in range(1, self._nodes + 1)]),
            client=KUBECTL_LITE,
            kubeconfig=self._layout.kubeconfig(ADMIN),
            manifests=self._manifests,
        )
        done = Checklist()
        done.check(f"a cluster of {self._nodes} nodes starts", self.up)
        try:
            if not done.failed:
                for title, check in checks.all():
                    done.check(title, check)
        finally:
            if done.failed:
                print(complaints(self._layout), flush=True)
            done.check("down leaves nothing behind", self.down)
        return done.verdict()

    def _sampan(self, *words: str) -> str:
        command = [sys.executable, "-m", "sampan", *words, f"--data-dir={self._layout.directory}"]
        return run_command(command, timeout=180)

    def up(self) -> str:
        return self._sampan("up", f"--nodes={self._nodes}", "--node-monitor-grace=8", "--pod-eviction=3")

    def down(self) -> str:
        nodes = node_names(self._layout)
        self._sampan("down")
        left = leftovers(self._layout, nodes)
        if left:
            raise CheckError("left behind: " + ", ".join(left))
        return "no process, container, namespace, device, rule, mount or file"


def complaints(layout: Layout, most: int = 12) -> str:
    """The newest warnings of every component: the logs themselves go with the cluster."""
    found = []
    for path in sorted(layout.logs.glob("*.log")):
        lines = path.read_text(errors="replace").splitlines()
        found += [f"{path.stem}: {line}" for line in lines if any(word in line for word in _COMPLAINTS)][-most:]
    return "\n".join(found)


def leftovers(layout: Layout, nodes: Collection[str]) -> list[str]:
    """All that a cluster makes on a machine, if it is still there."""
    found = [f"namespace {path.name}" for path in Path("/run/netns").glob(cluster_machine.PREFIX + "node-*")]
    found += [f"device {path.name}" for path in Path("/sys/class/net").glob("sampan*")]
    found += [f"mount {point}" for point in cluster_machine.mounts_below(layout.directory)]
    found += [f"table {line}" for line in cluster_machine.run("nft", "list", "tables").splitlines() if "sampan" in line]
    if layout.directory.exists():
        found.append(f"directory {layout.directory}")
    engine = docker.from_env()
    try:
        left = engine.containers.list(all=True, filters={"label": "sampan.dev/node"}, ignore_removed=True)
        found += [f"container {item.name}" for item in left if item.labels["sampan.dev/node"] in nodes]
    finally:
        engine.close()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if any(str(layout.directory) in word for word in words) and path.parent.name != str(os.getpid()):
            found.append(f"process {path.parent.name} ({' '.join(words[:6])})")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan demo", description=HELP)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/sampan-demo"))
    parser.add_argument("--manifests", type=Path, default=Path(__file__).parent.parent / "manifests" / "demo")
    args = parser.parse_args(argv)
    return Demo(layout=Layout(args.data_dir.absolute()), nodes=args.nodes, manifests=args.manifests).run()


if __name__ == "__main__":
    sys.exit(main())
