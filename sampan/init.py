"""`sampan init`: the credentials of a cluster of several machines, one directory for each that receives some.

    DIR/ca/            the authorities' keys: they stay with whoever runs init, nobody else needs them
    DIR/apiserver/     what each API server has: its certificate, the authority, the token key, the way into etcd
    DIR/etcd/          one certificate for all members, from an authority of etcd's own: a node's certificate opens
                       the API server, never the store
    DIR/scheduler/ DIR/controllers/ DIR/NODE/    a kubeconfig each
    DIR/admin.kubeconfig                         for people, with the addresses that the outside knows: a context for each
                                                 API server, because kubectl goes to one only; kubectl-lite knows all in any
    DIR/prometheus/ DIR/monitoring/              a client certificate, and what makes it welcome and findable (monitoring.py)

What is there and good is kept, so init may run before every start. A part is given only its own directory.
"""

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from kubeapi.clock import SystemClock
from sampan import monitoring
from sampan.cluster_layout import ADMIN, CONTROLLERS, KUBERNETES, SCHEDULER, node_identity
from sampan.cluster_pki import Identity, Pki, write_private
from sampan.monitoring import PROMETHEUS, SETUP, Host

HELP = "make the certificates and kubeconfigs of a cluster of several machines"
_NAMES = (
    "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
)  # fmt: skip
ETCD_CLIENT = Identity("etcd-client", "apiserver")


def _host(text: str) -> Host:
    name, equals, address = text.partition("=")
    if not (name and equals and address):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=ADDRESS")
    return Host(name, address)


@dataclass(frozen=True, slots=True)
class Plan:
    directory: Path
    servers: Sequence[Host]
    etcd: Sequence[Host]
    nodes: Sequence[Host]
    schedulers: Sequence[Host] = ()
    controllers: Sequence[Host] = ()
    published: Sequence[str] = ()
    """HOST:PORT:GRPC_PORT of each API server, as people reach it; empty: by its own address."""
    port: int = 6443
    grpc_port: int = 6444


def make(plan: Plan, *, now: datetime) -> None:
    pki = Pki(plan.directory / "ca", now=now)
    pki.authority()
    pki.token_key()
    outside = [text.split(":")[0] for text in plan.published]
    addresses = ["127.0.0.1", KUBERNETES, *(server.address for server in plan.servers), *outside]
    pki.server("apiserver", addresses=addresses, names=[*_NAMES, *(server.name for server in plan.servers)])
    _give(pki, plan.directory / "apiserver", "ca.crt", "apiserver.crt", "apiserver.key", "sa.key", "sa.pub")
    _etcd(plan, now)
    for index, (identity, address) in enumerate(_members(plan)):
        pki.client(identity, addresses=[address] if address else [])
        write_private(
            plan.directory / identity.file / "kubeconfig",
            pki.kubeconfig(identity, server=_server(plan), grpc=_rotated(plan, index)),
        )
    _monitoring(pki, plan)
    pki.client(ADMIN)
    public = [text.split(":") for text in plan.published] or [
        [server.address, str(plan.port), str(plan.grpc_port)] for server in plan.servers
    ]
    grpc = ",".join(f"{host}:{port}" for host, _, port in public)
    servers = [f"https://{host}:{port}" for host, port, _ in public]
    first = pki.kubeconfig(ADMIN, server=servers[0], grpc=grpc)
    write_private(plan.directory / "admin.kubeconfig", with_contexts(first, servers[1:]))


def with_contexts(kubeconfig: bytes, others: Sequence[str]) -> bytes:
    """The same cluster by other servers, as NAME-2, NAME-3: `kubectl --context` chooses when the first one is away."""
    config = yaml.safe_load(kubeconfig)
    [cluster], [context] = config["clusters"], config["contexts"]
    for number, server in enumerate(others, 2):
        name = f"{cluster['name']}-{number}"
        config["clusters"].append({"name": name, "cluster": {**cluster["cluster"], "server": server}})
        config["contexts"].append({"name": name, "context": {**context["context"], "cluster": name}})
    return yaml.dump(config, Dumper=_Plain, sort_keys=False).encode()


class _Plain(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _monitoring(pki: Pki, plan: Plan) -> None:
    _give(pki, plan.directory / "prometheus", "ca.crt", "prometheus.crt", "prometheus.key")
    text = monitoring.manifest(schedulers=plan.schedulers, controllers=plan.controllers, etcd=plan.etcd)
    write_private(plan.directory / SETUP.file / "cluster.yaml", text.encode())


def _members(plan: Plan) -> list[tuple[Identity, str]]:
    """Who has a kubeconfig of its own, and the address it serves on, if it does."""
    return [
        (SCHEDULER, ""),
        (CONTROLLERS, ""),
        (SETUP, ""),
        (PROMETHEUS, ""),
        *((node_identity(node.name), node.address) for node in plan.nodes),
    ]


def _server(plan: Plan) -> str:
    return f"https://{plan.servers[0].address}:{plan.port}"


def _rotated(plan: Plan, index: int) -> str:
    """Every API server's gRPC address, each member beginning with another, so that they share the load."""
    at = index % len(plan.servers)
    return ",".join(f"{server.address}:{plan.grpc_port}" for server in [*plan.servers[at:], *plan.servers[:at]])


def _etcd(plan: Plan, now: datetime) -> None:
    if not plan.etcd:
        return
    pki = Pki(plan.directory / "ca" / "etcd", now=now)
    pki.authority()
    hosts = [text for member in plan.etcd for text in (member.name, member.address)]
    pki.client(Identity("etcd", "etcd"), addresses=["127.0.0.1", "localhost", *hosts])
    pki.client(ETCD_CLIENT)
    _give(pki, plan.directory / "etcd", "ca.crt", "etcd.crt", "etcd.key")
    _give(pki, plan.directory / "apiserver" / "etcd", "ca.crt", "etcd-client.crt", "etcd-client.key")


def _give(pki: Pki, directory: Path, *names: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copy(pki.directory / name, directory / name)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan init", description=HELP)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument(
        "--apiserver", type=_host, action="append", required=True, metavar="NAME=ADDRESS", help="may be repeated"
    )
    parser.add_argument("--etcd", type=_host, action="append", default=[], metavar="NAME=ADDRESS")
    for part in ("--scheduler", "--controllers"):
        parser.add_argument(
            part, type=_host, action="append", default=[], metavar="NAME=ADDRESS", help="whose numbers Prometheus reads"
        )
    parser.add_argument("--node", type=_host, action="append", default=[], metavar="NAME=ADDRESS")
    parser.add_argument(
        "--publish", action="append", default=[], metavar="HOST:PORT:GRPC_PORT",
        help="how people reach the API servers, in their order (default: by their own addresses)",
    )  # fmt: skip
    parser.add_argument("--port", type=int, default=6443, help="of the API servers' HTTP doors")
    parser.add_argument("--grpc-port", type=int, default=6444, help="of their gRPC doors")
    args = parser.parse_args(argv)
    if any(text.count(":") != 2 for text in args.publish):
        parser.error("--publish takes HOST:PORT:GRPC_PORT")
    plan = Plan(
        directory=args.directory,
        servers=args.apiserver,
        etcd=args.etcd,
        nodes=args.node,
        schedulers=args.scheduler,
        controllers=args.controllers,
        published=args.publish,
        port=args.port,
        grpc_port=args.grpc_port,
    )
    make(plan, now=SystemClock().now())
    print(f"credentials for {len(plan.servers)} API servers and {len(plan.nodes)} nodes in {plan.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
