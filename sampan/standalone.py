"""A whole cluster in one process: `sampan standalone`. The machine that it runs on is its one node.

    doors ──► Api ◄── LocalClient ◄── scheduler, controllers, the node's agent ──► Docker, this machine's own network

To `sampan controlplane` it adds the node's agent, as one more loop that speaks to the API core by function call: no second
interpreter, no second copy of each pod, 40 MiB less (docs/decisions/0009-one-process.md). Pods have the machine's own
network, not a namespace beside it: node ports are the machine's ports. What it costs: while the agent works, requests
wait, and a defect that ends the process ends all of it; containers go on meanwhile and are found again.

It stays in the foreground, for systemd or a terminal to keep; TERM ends it, and `sampan down` takes away what is left.
"""

import argparse
import ipaddress
import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import uvloop

from controlplane.apiserver.validation import name_faults
from kubeapi.client.interface import Client
from kubeapi.clock import Clock, SystemClock
from node_agent.network.pod_network import BRIDGE
from node_agent.server import Tls
from sampan import apiserver, cluster_machine, controlplane, election, logs, node
from sampan.cluster_containers import ContainersError, ensure_images
from sampan.cluster_credentials import make_credentials
from sampan.cluster_layout import (
    ADMIN,
    CLUSTER_CIDR,
    DEFAULT_DIRECTORY,
    DNS_ADDRESS,
    DOMAIN,
    Layout,
    Settings,
    Standalone,
    node_identity,
)
from sampan.cluster_lock import LockError, last_cluster, only_cluster, only_process
from sampan.cluster_remains import clear_another
from sampan.node import NodeConfig

HELP = "run a cluster of this machine alone, in one process"
TOOLS = ("ip", "nft")
TAKEN = ("admin", "apiserver", "ca", "sa")
"""Names of other files in the directory of the certificates."""


class StandaloneError(Exception):
    """Why it cannot start, in words for the person who asked."""


@dataclass(frozen=True, slots=True)
class Plan:
    layout: Layout
    settings: Settings
    address: str
    """The machine's, as pods and people elsewhere reach it."""
    pods: int = 110
    metrics: str = ""
    """host:port of the numbers of scheduler and controllers; empty: not served."""

    @property
    def standalone(self) -> Standalone:
        assert self.settings.standalone is not None
        return self.settings.standalone


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        plan = plan_of(args)
        with _alone(plan):
            clock = SystemClock()
            prepare(plan, now=clock.now())
            if not plan.settings.hollow:
                open_machine(plan)
            logs.start(args, node=plan.standalone.node)
            uvloop.run(election.until_stopped(serve(plan, joined=Told(plan, clock)), name="standalone"))
    except (StandaloneError, LockError, ContainersError, cluster_machine.MachineError) as error:
        print(f"sampan standalone: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """While the block lasts no other cluster starts here. Raises what speaks against this one."""
    layout, settings = plan.layout, plan.settings
    hollow = settings.hollow
    if not hollow:
        cluster_machine.require_tools(*TOOLS)
    try:
        layout.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StandaloneError(f"{layout.directory}: {error.strerror}: --data-dir takes another place") from error
    before = "" if hollow else last_cluster()
    with only_process(layout) if hollow else only_cluster(layout):
        if before not in ("", str(layout.directory)) and (done := clear_another(before)):
            print(done, flush=True)
        cluster_machine.require_ports(settings.port, settings.grpc_port)
        yield


class Told:
    """Says on the terminal, once, that the cluster can be used; who no longer listens harms nothing."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan, self._clock = plan, clock
        self._begun: float | None = clock.monotonic()

    def __call__(self) -> None:
        if self._begun is None:
            return
        seconds, self._begun = self._clock.monotonic() - self._begun, None
        with suppress(BrokenPipeError):
            print(f"{seconds:6.2f} s  node {self._plan.standalone.node} is ready", flush=True)
            print(f"export KUBECONFIG={self._plan.layout.kubeconfig(ADMIN)}", flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="sampan standalone", description=HELP,
        epilog="Name, runtime, store, engine and network are those of the first start in this data directory; ports are, unless given.",
    )  # fmt: skip
    made.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY)
    made.add_argument("--name", help="the node's (default: the machine's)")
    made.add_argument("--address", default="", help="of this machine (default: the one of its default route)")
    made.add_argument("--port", type=int, help="of the API server (default: 6443)")
    made.add_argument("--grpc-port", type=int, help="of its gRPC door (default: the next one)")
    made.add_argument(
        "--store", help="instead of a file in the data directory: memory:, sqlite:PATH, etcd://HOST:PORT…"
    )
    made.add_argument("--runtime", choices=["docker", "hollow"], help="default: docker")
    made.add_argument("--docker", help="where the engine listens (default: $DOCKER_HOST, or its usual socket)")
    made.add_argument(
        "--plain-network", action="store_true", default=None, help="no pod network: addresses lead nowhere"
    )
    made.add_argument("--max-pods", type=int, default=110)
    made.add_argument(
        "--metrics-address", default="", metavar="HOST:PORT",
        help="serve the /metrics of scheduler and controllers (default: not); the API server's and the node's are behind "
        "the API server's own door",
    )  # fmt: skip
    logs.add_flags(made)
    return made


def plan_of(args: argparse.Namespace) -> Plan:
    """Raises StandaloneError for what cannot be, and where the data directory is another cluster's."""
    layout = Layout(args.data_dir.absolute())
    known = layout.settings()
    if known is not None and known.standalone is None:
        raise StandaloneError(f"{layout.directory} holds a cluster of `sampan up`: --data-dir takes another place")
    here = Standalone(
        node=socket.gethostname().lower(), docker=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    )
    first = known.standalone if known is not None and known.standalone is not None else here
    given = {
        "node": args.name, "runtime": args.runtime, "docker": args.docker, "plain_network": args.plain_network,
        "store": None if args.store is None else _store(args.store),
    }  # fmt: skip
    wanted = replace(first, **{name: value for name, value in given.items() if value is not None})
    if known is not None and wanted != first:
        raise StandaloneError(f"{layout.directory} holds a cluster of `{first}`: --data-dir takes another place")
    faults = list(name_faults("--name", wanted.node, "subdomain"))
    if faults or wanted.node in TAKEN:
        raise StandaloneError(str(faults[0]) if faults else f"--name: none of {', '.join(TAKEN)}")
    if args.address:
        _check_address(args.address)
    port = args.port or (known.port if known is not None else 6443)
    remembered = known.grpc_port if known is not None and args.port is None else port + 1
    return Plan(
        layout=layout,
        settings=Settings(port=port, grpc_port=args.grpc_port or remembered, standalone=wanted),
        address=args.address or cluster_machine.own_address(),
        pods=args.max_pods,
        metrics=args.metrics_address,
    )


def _store(text: str) -> str:
    """Raises StandaloneError for what names no store."""
    if text and not text.startswith(("memory:", "sqlite:", "etcd://")):
        raise StandaloneError(f"--store {text!r} names no store; allowed are memory:, sqlite:PATH and etcd://HOST:PORT")
    return apiserver.store_url(text)


def _check_address(text: str) -> None:
    try:
        ipaddress.IPv4Address(text)
    except ValueError as error:
        raise StandaloneError(f"--address: {error}") from error


def prepare(plan: Plan, *, now: datetime) -> None:
    """Certificates, kubeconfigs and directories; keeps what is there. Blocking."""
    layout, name = plan.layout, plan.standalone.node
    make_credentials(layout, plan.settings, machine=plan.address, nodes={name: plan.address}, now=now)
    layout.save(plan.settings)
    layout.node_directory(name).mkdir(parents=True, exist_ok=True)
    layout.pids.write_text(f"{os.getpid()} standalone\n")


def open_machine(plan: Plan) -> None:
    """Our two images, and a way past dockerd's filter. Blocking."""
    if made := ensure_images(plan.standalone.docker):
        print(f"made images {', '.join(made)}", flush=True)
    if not plan.standalone.plain_network:
        cluster_machine.forward(BRIDGE)


async def serve(
    plan: Plan, *, ready: Callable[[], None] = lambda: None, joined: Callable[[], None] = lambda: None
) -> None:
    """Until cancelled; raises what ends the API server. `ready` is called when clients may come, `joined` when the node has
    joined, each time that it does."""
    flags = [
        *plan.layout.control_plane_flags(plan.settings, address=plan.address),
        f"--metrics-address={plan.metrics}",
        "--leader-elect=false",  # there is no other, and a lease is a write every two seconds
    ]
    config = config_of(plan)

    async def agent(client: Client) -> None:
        await node.run(config, client, ready=joined)

    args = controlplane.parser().parse_args(flags)
    await controlplane.serve(args, ready=ready, others={node_identity(config.name): agent})


def config_of(plan: Plan) -> NodeConfig:
    standalone, pki = plan.standalone, plan.layout.pki
    name = standalone.node
    return NodeConfig(
        name=name,
        ip=plan.address,
        data=plan.layout.node_directory(name),
        runtime=standalone.runtime,
        docker=standalone.docker,
        cluster_cidr=CLUSTER_CIDR,
        dns_ip=DNS_ADDRESS,
        domain=DOMAIN,
        plain_network=standalone.plain_network,
        pods=plan.pods,
        tls=Tls(
            certificate=(pki / f"{name}.crt").read_bytes(),
            key=(pki / f"{name}.key").read_bytes(),
            ca=(pki / "ca.crt").read_bytes(),
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
