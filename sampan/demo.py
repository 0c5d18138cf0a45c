"""`make demo`: a cluster of three nodes from nothing, every promise checked aloud, and nothing left behind.

Each check is a function that returns what it saw or raises; it is printed with a tick or a cross and its time. All go
through kubectl-lite or the engine's own client, as a user would.
"""

import argparse
import ipaddress
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

import docker
import yaml

from sampan import cluster_machine
from sampan.cluster_layout import ADMIN, Layout
from sampan.down import node_names

HELP = "show on this machine what a cluster does"
T = TypeVar("T")

_NODE_PORT = 30080
_PATIENCE = 90.0


class CheckError(Exception):
    """What was seen instead of what was promised."""


class Demo:
    def __init__(self, *, layout: Layout, nodes: int, manifests: Path) -> None:
        self._layout, self._nodes, self._manifests = layout, nodes, manifests
        self._failed: list[str] = []

    def run(self) -> int:
        begun = monotonic()
        self._check(f"a cluster of {self._nodes} nodes starts", self.up)
        try:
            if not self._failed:
                for title, check in self.checks():
                    self._check(title, check)
        finally:
            self._check("down leaves nothing behind", self.down)
        verdict = f"{len(self._failed)} failed: {'; '.join(self._failed)}" if self._failed else "all is well"
        print(f"\n{verdict}, {monotonic() - begun:.1f} s")
        return 1 if self._failed else 0

    def checks(self) -> list[tuple[str, Callable[[], str]]]:
        return [
            ("six replicas run, with addresses of their node's range", self.replicas),
            ("configuration arrives as environment and files", self.configuration),
            ("pods reach each other across nodes", self.across),
            ("the service answers by cluster IP and by name", self.service),
            ("the node port answers from the host, by several pods", self.node_port),
            ("data of a claim outlives its pod", self.claim),
            ("a killed container comes back", self.killed_container),
            ("a deleted pod is replaced", self.deleted_pod),
            ("a rolling update fails no request, and is undone", self.rolling_update),
            ("a dead node is noticed and its pods move", self.dead_node),
        ]

    def _check(self, title: str, check: Callable[[], str]) -> None:
        begun = monotonic()
        try:
            seen, mark = check(), "\N{CHECK MARK}"
        except (CheckError, OSError, subprocess.SubprocessError, LookupError, ValueError) as error:
            seen, mark = f"{type(error).__name__}: {error}", "\N{BALLOT X}"
            self._failed.append(title)
        print(f"{mark} {title} ({monotonic() - begun:.1f} s)", flush=True)
        for line in seen.strip().splitlines():
            print(f"    {line}", flush=True)

    # The cluster

    def _sampan(self, *words: str) -> str:
        return _run([sys.executable, "-m", "sampan", *words, f"--data-dir={self._layout.directory}"], timeout=180)

    def up(self) -> str:
        return self._sampan("up", f"--nodes={self._nodes}", "--node-monitor-grace=8", "--pod-eviction=3")

    def down(self) -> str:
        nodes = node_names(self._layout)
        self._sampan("down")
        left = leftovers(self._layout, nodes)
        if left:
            raise CheckError("left behind: " + ", ".join(left))
        return "no process, container, namespace, device, rule, mount or file"

    def _kubectl(self, *words: str, timeout: float = 120) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self._layout.kubeconfig(ADMIN)), "NO_COLOR": "1"}
        return _run([sys.executable, "-m", "kubectl_lite", *words], timeout=timeout, environment=environment)

    def _get(self, *words: str) -> Any:
        return json.loads(self._kubectl("get", *words, "-o", "json"))

    def _apply(self, name: str) -> None:
        self._kubectl("apply", "-f", str(self._manifests / name))

    def _web(self, *, ready: bool = True) -> list[dict[str, Any]]:
        pods = self._get("pods", "-l", "app=web")["items"]
        return [pod for pod in pods if not ready or _is_ready(pod)]

    def _six(self, what: str, also: Callable[[list[dict[str, Any]]], bool] = lambda pods: True) -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            pods = self._web()
            return pods if len(pods) == 6 and also(pods) else None

        return _wait(look, what)

    def _exec(self, pod: str, *command: str) -> str:
        return self._kubectl("exec", pod, "--", *command).strip()

    # The checks

    def replicas(self) -> str:
        self._apply("10-config.yaml")
        self._apply("20-web.yaml")
        self._kubectl("rollout", "status", "deployment/web")
        pods = self._six("six ready replicas")
        ranges = {n["metadata"]["name"]: n["spec"]["podCIDR"] for n in self._get("nodes")["items"]}
        for pod in pods:
            node, ip = pod["spec"]["nodeName"], pod["status"]["podIP"]
            if ipaddress.ip_address(ip) not in ipaddress.ip_network(ranges[node]):
                raise CheckError(f"{ip} is not in {ranges[node]} of {node}")
        used = {pod["spec"]["nodeName"] for pod in pods}
        if len(used) != self._nodes:
            raise CheckError(f"the replicas use {len(used)} of {self._nodes} nodes")
        return self._kubectl("get", "pods", "-o", "wide")

    def configuration(self) -> str:
        pod = self._web()[0]["metadata"]["name"]
        seen = self._exec(pod, "sh", "-c", "echo $GREETING; cat /etc/web/page.txt; echo; cat /etc/web-secret/password")
        for wanted in ("hello from a config map", "a file from a config map", "a secret file"):
            if wanted not in seen:
                raise CheckError(f"{wanted!r} is not in {seen!r}")
        return seen

    def across(self) -> str:
        pods = self._web()
        first = pods[0]
        other = next(p for p in pods if p["spec"]["nodeName"] != first["spec"]["nodeName"])
        seen = self._exec(first["metadata"]["name"], "wget", "-qO-", f"http://{other['status']['podIP']}:8080/")
        _expect(seen, other["metadata"]["name"])
        return f"{first['metadata']['name']} on {first['spec']['nodeName']} reads: {seen}"

    def service(self) -> str:
        pod = self._web()[0]["metadata"]["name"]
        ip = self._get("service", "web")["spec"]["clusterIP"]
        lines = []
        for host in (ip, "web", "web.default.svc.cluster.local"):
            seen = self._exec(pod, "wget", "-qO-", f"http://{host}/")
            _expect(seen, "web-")
            lines.append(f"http://{host}/ answers: {seen}")
        return "\n".join(lines)

    def _url(self, node: int = 0) -> str:
        return f"http://{cluster_machine.address(node)}:{_NODE_PORT}/"

    def node_port(self) -> str:
        seen: Counter[str] = Counter()
        for number in range(30):
            with urllib.request.urlopen(self._url(number % self._nodes), timeout=5) as response:
                seen[response.read().decode().split(" ")[0]] += 1
        if len(seen) < 2:
            raise CheckError(f"only {dict(seen)} answered")
        return f"30 requests, answered by {len(seen)} pods"

    def claim(self) -> str:
        self._apply("30-data.yaml")
        self._kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
        self._kubectl("delete", "pod", "writer")
        _wait(lambda: not [p for p in self._get("pods")["items"] if p["metadata"]["name"] == "writer"], "writer gone")
        self._apply("30-data.yaml")
        self._kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
        seen = _wait(lambda: self._exec("writer", "cat", "/data/visitors"), "the file of the claim")
        if len(seen.splitlines()) != 2:
            raise CheckError(f"two visits were written, this is there: {seen!r}")
        return seen

    def killed_container(self) -> str:
        pod = self._web()[0]
        name, uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        engine = docker.from_env()
        try:
            labels = [f"sampan.dev/pod-uid={uid}", "sampan.dev/kind=app"]
            engine.containers.list(filters={"label": labels})[0].kill()
        finally:
            engine.close()

        def restarted() -> bool:
            now = self._get("pod", name)
            return now["status"]["containerStatuses"][0]["restartCount"] >= 1 and _is_ready(now)

        _wait(restarted, f"{name} restarted")
        return f"{name} runs again, restarts: 1"

    def deleted_pod(self) -> str:
        victim = self._web()[0]["metadata"]["name"]
        self._kubectl("delete", "pod", victim)
        pods = self._six("a replacement", lambda pods: victim not in [p["metadata"]["name"] for p in pods])
        return f"{victim} is gone, {len(pods)} are ready"

    def rolling_update(self) -> str:
        _tag("sampan/busybox:1", "sampan/busybox:2")
        original = (self._manifests / "20-web.yaml").read_text()
        load = Load([self._url(node) for node in range(self._nodes)])
        with load, tempfile.TemporaryDirectory() as directory:
            changed = Path(directory) / "web.yaml"
            changed.write_text(original.replace("sampan/busybox:1", "sampan/busybox:2").replace(" v1 on", " v2 on"))
            documents = list(yaml.safe_load_all(changed.read_text()))
            if len(documents) != 2:
                raise CheckError("the manifest is not as expected")
            self._kubectl("apply", "-f", str(changed))
            self._kubectl("rollout", "status", "deployment/web")
            self._six("version 2 everywhere", lambda pods: _images(pods) == {"sampan/busybox:2"})
            self._kubectl("rollout", "undo", "deployment/web")
            self._kubectl("rollout", "status", "deployment/web")
            self._six("version 1 everywhere", lambda pods: _images(pods) == {"sampan/busybox:1"})
        if load.failures:
            raise CheckError(f"{len(load.failures)} of {load.done} requests failed, the first: {load.failures[0]}")
        return f"{load.done} requests during update and undo, none failed; versions seen: {sorted(load.versions)}"

    def dead_node(self) -> str:
        node = f"node-{self._nodes}"
        on_it = {p["metadata"]["name"] for p in self._web() if p["spec"]["nodeName"] == node}
        pid = next(
            int(line.split()[0]) for line in self._layout.pids.read_text().splitlines() if line.endswith(f" {node}")
        )
        # Stopped, not ended: the supervisor starts an ended agent again within a second.
        os.kill(pid, signal.SIGSTOP)
        try:

            def not_ready() -> bool:
                found = self._get("node", node)["status"]["conditions"]
                return any(c["type"] == "Ready" and c["status"] != "True" for c in found)

            begun = monotonic()
            _wait(not_ready, f"{node} not ready")
            noticed = monotonic() - begun
            self._six("six replicas on other nodes", lambda pods: node not in [p["spec"]["nodeName"] for p in pods])
            moved = monotonic() - begun
        finally:
            os.kill(pid, signal.SIGCONT)
        return f"NotReady after {noticed:.1f} s, {len(on_it)} pods run elsewhere after {moved:.1f} s"


class Load:
    """Steady requests from a thread, one at a time; every failure is kept."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.done = 0
        self.failures: list[str] = []
        self.versions: set[str] = set()

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.01):
            url = self._urls[self.done % len(self._urls)]
            self.done += 1
            try:
                with urllib.request.urlopen(url, timeout=5) as response:
                    self.versions.add(response.read().decode().split(" ")[1])
            except (OSError, IndexError) as error:
                self.failures.append(f"{url}: {error}")


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
        left = engine.containers.list(all=True, filters={"label": "sampan.dev/node"})
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


def _run(command: Sequence[str], *, timeout: float, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    if done.returncode:
        raise CheckError(f"{' '.join(command[2:])}: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout


def _wait(look: Callable[[], T | None], what: str) -> T:
    """What `look` returns once it is something; a demonstration looks again and again, like its audience."""
    deadline = monotonic() + _PATIENCE
    trouble = ""
    while monotonic() < deadline:
        try:
            if seen := look():
                return seen
        except CheckError as error:
            trouble = f" ({error})"
        sleep(0.3)
    raise CheckError(f"waited {_PATIENCE:.0f} s in vain for: {what}{trouble}")


def _is_ready(pod: dict[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp"):
        return False
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _images(pods: list[dict[str, Any]]) -> set[str]:
    return {container["image"] for pod in pods for container in pod["spec"]["containers"]}


def _expect(seen: str, wanted: str) -> None:
    if wanted not in seen:
        raise CheckError(f"{wanted!r} is not in {seen!r}")


def _tag(old: str, new: str) -> None:
    engine = docker.from_env()
    try:
        repository, tag = new.split(":")
        engine.images.get(old).tag(repository, tag=tag)
    finally:
        engine.close()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan demo", description=HELP)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path("/var/lib/sampan-demo"))
    parser.add_argument("--manifests", type=Path, default=Path(__file__).parent.parent / "manifests" / "demo")
    args = parser.parse_args(argv)
    return Demo(layout=Layout(args.data_dir.absolute()), nodes=args.nodes, manifests=args.manifests).run()


if __name__ == "__main__":
    sys.exit(main())
