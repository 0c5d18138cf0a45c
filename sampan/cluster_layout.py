"""Where a one-machine cluster keeps what it has, and how its processes are started: pure, read by up, down, status.

DIR/cluster.json   the settings of the first `up`        DIR/pki/         authority, certificates, keys
DIR/*.kubeconfig   one per component, and admin          DIR/store.db     every object
DIR/logs/          one file per process                  DIR/nodes/NAME/  volumes and pod logs of a node
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sampan import cluster_machine
from sampan.cluster_pki import Identity, write_private
from sampan.cluster_supervisor import Component

DEFAULT_DIRECTORY = Path("/var/lib/sampan")
CLUSTER_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"
KUBERNETES = "10.96.0.1"

ADMIN = Identity("admin", "admin", ("system:masters",))
LEASES_PER_GRACE = 4
"""Signs of life that must fail to come until a node is given up."""
SCHEDULER = Identity("scheduler", "system:kube-scheduler")
CONTROLLERS = Identity("controllers", "system:kube-controller-manager")


@dataclass(frozen=True, slots=True)
class Standalone:
    """What of a cluster in one process stays as it was at the first start: with another store, say, its agent would know none
    of its pods, and end them."""

    node: str
    runtime: str = "docker"
    """docker or hollow."""
    store: str = ""
    """A URL; empty: the file in the directory."""
    docker: str = ""
    """Where the engine listens; empty: as the environment says."""
    plain_network: bool = False

    def __str__(self) -> str:
        """The command that made it."""
        words = [f"sampan standalone --name {self.node} --runtime {self.runtime}"]
        words += [f"--store {self.store}"] if self.store else []
        words += [f"--docker {self.docker}"] if self.docker and self.runtime == "docker" else []
        return " ".join([*words, "--plain-network"] if self.plain_network else words)


@dataclass(frozen=True, slots=True)
class Settings:
    nodes: int = 1
    port: int = 6443
    grpc_port: int = 6444
    node_monitor_grace: float = 40.0
    """Seconds without a heartbeat until a node is NotReady."""
    pod_eviction: float = 300.0
    """Seconds NotReady until its pods are replaced elsewhere."""
    standalone: Standalone | None = None
    """None: the nodes are namespaces (`sampan up`)."""

    @property
    def hollow(self) -> bool:
        """Containers are pretended: nothing of the machine is its own but the directory."""
        return self.standalone is not None and self.standalone.runtime == "hollow"

    @property
    def node_names(self) -> list[str]:
        return [self.standalone.node] if self.standalone else [f"node-{number}" for number in range(1, self.nodes + 1)]


def node_identity(node: str) -> Identity:
    return Identity(node, f"system:node:{node}", ("system:nodes",))


class Layout:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pki = directory / "pki"
        self.logs = directory / "logs"
        self.lock = directory / "up.lock"
        self.pids = directory / "pids"
        self.settings_file = directory / "cluster.json"

    def kubeconfig(self, identity: Identity) -> Path:
        return self.directory / f"{identity.file}.kubeconfig"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def node_directory(self, node: str) -> Path:
        return self.directory / "nodes" / node

    def settings(self) -> Settings | None:
        """None when no cluster has been made here."""
        if not self.settings_file.exists():
            return None
        held = json.loads(self.settings_file.read_text())
        if held.get("standalone"):
            held["standalone"] = Standalone(**held["standalone"])
        return Settings(**held)

    def save(self, settings: Settings) -> None:
        write_private(self.settings_file, json.dumps(asdict(settings), indent=2).encode())

    def components(self, settings: Settings) -> tuple[Component, Sequence[Component]]:
        """The control plane, and all that needs it."""
        sampan = [sys.executable, "-m", "sampan"]
        server = [
            *sampan, "controlplane",
            *self.control_plane_flags(settings, address=cluster_machine.MACHINE),
            # The supervisor runs it once, and it dies with the supervisor: it need not wait for its own leases.
            "--leader-elect-identity=sampan-up",
        ]  # fmt: skip
        parts = []
        for index, node in enumerate(settings.node_names):
            command = [
                "nsenter", f"--net={cluster_machine.namespace_path(node)}", "--",
                *sampan, "node",
                f"--name={node}",
                f"--kubeconfig={self.kubeconfig(node_identity(node))}",
                f"--address={cluster_machine.address(index)}",
                f"--data-dir={self.node_directory(node)}",
                f"--cluster-cidr={CLUSTER_CIDR}",
                f"--cluster-dns={DNS_ADDRESS}",
                f"--cluster-domain={DOMAIN}",
                f"--lease={settings.node_monitor_grace / LEASES_PER_GRACE}",
            ]  # fmt: skip
            parts.append(self._component(node, command))
        return self._component("controlplane", server), parts

    def control_plane_flags(self, settings: Settings, *, address: str) -> list[str]:
        """`address`: by which nodes and pods reach it."""
        store = settings.standalone.store if settings.standalone else ""
        return [
            f"--store={store or f'sqlite:{self.directory}/store.db'}",
            "--bind=0.0.0.0",
            f"--port={settings.port}",
            f"--grpc-port={settings.grpc_port}",
            f"--advertise={address}",
            f"--pki={self.pki}",
            f"--service-cidr={SERVICE_CIDR}",
            f"--cluster-cidr={CLUSTER_CIDR}",
            f"--node-monitor-grace={settings.node_monitor_grace}",
            f"--pod-eviction={settings.pod_eviction}",
            f"--local-path-directory={self.directory / 'volumes'}",
        ]

    def _component(self, name: str, command: Sequence[str]) -> Component:
        return Component(name=name, command=command, log=self.log(name))
