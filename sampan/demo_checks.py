"""What every cluster promises, as checks that a user could make: a check returns what it saw, or raises CheckError.

The clusters differ (namespaces of this machine, containers with engines of their own): what no Kubernetes client can
do is asked of the Ground that the cluster stands on. All else goes through one client, given by its command line:
kubectl-lite, or a real kubectl.
"""

import ipaddress
import json
import os
import subprocess
import tempfile
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Protocol, TypeVar

import yaml

T = TypeVar("T")

_NODE_PORT = 30080
_PATIENCE = 120.0


class CheckError(Exception):
    """What was seen instead of what was promised."""


class Ground(Protocol):
    """A cluster as its machine sees it."""

    @property
    def nodes(self) -> Sequence[str]: ...
    def address(self, node: str) -> str:
        """By which this machine reaches the node."""

    def kill_container(self, node: str, pod_uid: str) -> None:
        """Kills the pod's first container behind everybody's back."""

    def tag(self, old: str, new: str) -> None:
        """Every node knows an image under another name too."""

    def lose_node(self, node: str) -> None:
        """No sign of life comes from it from now on."""

    def revive_node(self, node: str) -> None: ...


class Checklist:
    """Makes checks, and says of each what came of it and how long it took."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self._begun = monotonic()

    def check(self, title: str, check: Callable[[], str]) -> None:
        begun = monotonic()
        try:
            seen, mark = check(), "\N{CHECK MARK}"
        except (CheckError, OSError, subprocess.SubprocessError, LookupError, ValueError) as error:
            seen, mark = f"{type(error).__name__}: {error}", "\N{BALLOT X}"
            self.failed.append(title)
        print(f"{mark} {title} ({monotonic() - begun:.1f} s)", flush=True)
        for line in seen.strip().splitlines():
            print(f"    {line}", flush=True)

    def verdict(self) -> int:
        text = f"{len(self.failed)} failed: {'; '.join(self.failed)}" if self.failed else "all is well"
        print(f"\n{text}, {monotonic() - self._begun:.1f} s", flush=True)
        return 1 if self.failed else 0


class Checks:
    def __init__(self, *, ground: Ground, client: Sequence[str], kubeconfig: Path, manifests: Path) -> None:
        self._ground, self._client, self._kubeconfig, self._manifests = ground, client, kubeconfig, manifests

    def all(self) -> list[tuple[str, Callable[[], str]]]:
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

    def clean(self) -> str:
        """Takes away what the checks made, so that they can be made again."""
        for path in sorted(self._manifests.glob("*.yaml")):
            self._kubectl("delete", "-f", str(path), "--ignore-not-found")
        _wait(lambda: not self._get("pods")["items"], "all pods gone")
        return "manifests deleted, no pod left"

    def _kubectl(self, *words: str, timeout: float = 180) -> str:
        environment = {**os.environ, "KUBECONFIG": str(self._kubeconfig), "NO_COLOR": "1"}
        return run_command([*self._client, *words], timeout=timeout, environment=environment)

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
        if len(used) != len(self._ground.nodes):
            raise CheckError(f"the replicas use {len(used)} of {len(self._ground.nodes)} nodes")
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

    def _urls(self) -> list[str]:
        return [f"http://{self._ground.address(node)}:{_NODE_PORT}/" for node in self._ground.nodes]

    def node_port(self) -> str:
        seen: Counter[str] = Counter()
        for url in self._urls() * 10:
            with urllib.request.urlopen(url, timeout=5) as response:
                seen[response.read().decode().split(" ")[0]] += 1
        if len(seen) < 2:
            raise CheckError(f"only {dict(seen)} answered")
        return f"{sum(seen.values())} requests, answered by {len(seen)} pods"

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
        self._ground.kill_container(pod["spec"]["nodeName"], uid)

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
        self._ground.tag("sampan/busybox:1", "sampan/busybox:2")
        original = (self._manifests / "20-web.yaml").read_text()
        load = Load(self._urls())
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
        node = self._ground.nodes[-1]
        on_it = {p["metadata"]["name"] for p in self._web() if p["spec"]["nodeName"] == node}

        def ready() -> bool:
            found = self._get("node", node)["status"]["conditions"]
            return any(c["type"] == "Ready" and c["status"] == "True" for c in found)

        begun = monotonic()
        self._ground.lose_node(node)
        try:
            _wait(lambda: not ready(), f"{node} not ready")
            noticed = monotonic() - begun
            self._six("six replicas on other nodes", lambda pods: node not in [p["spec"]["nodeName"] for p in pods])
            moved = monotonic() - begun
        finally:
            self._ground.revive_node(node)
        back = monotonic()
        _wait(ready, f"{node} ready again")
        return (
            f"NotReady after {noticed:.1f} s, {len(on_it)} pods run elsewhere after {moved:.1f} s, "
            f"the node is back {monotonic() - back:.1f} s after its revival"
        )


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


def run_command(command: Sequence[str], *, timeout: float, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
    if done.returncode:
        raise CheckError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-800:]}")
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
