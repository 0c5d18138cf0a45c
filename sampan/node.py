"""Composition of one node's agent: `sampan node`.

Reads flags, certificates and the machine; builds the runtime, the network, the client and the agent; runs them.
"""

import argparse
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import uvloop
from prometheus_client import generate_latest

from kubeapi.client.events import EventRecorder
from kubeapi.client.grpc_client import connect
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.client.measured import IN_PROCESS, MeasuredClient
from kubeapi.clock import Clock, SystemClock
from kubeapi.metrics import Certificates
from kubeapi.types.core_v1 import Service
from node_agent.agent import AgentTimes, NodeAgent
from node_agent.checks import Checker, HollowChecker, RealChecker
from node_agent.dialing import Dialer, NamespaceDialer, NowhereDialer
from node_agent.metrics import NodeMetrics
from node_agent.network.interface import PodNetwork
from node_agent.node_object import Machine, NodeIdentity, allocatable, machine
from node_agent.parts import HostlessNetwork, NodeFacts, Observer, Parts
from node_agent.pod_events import COMPONENT
from node_agent.reclaimer import VolumeReclaimer
from node_agent.references import References
from node_agent.runtimes.docker import DockerRuntime
from node_agent.runtimes.hollow import HollowRuntime
from node_agent.runtimes.hollow_journal import JournaledHollowRuntime
from node_agent.runtimes.interface import Runtime
from node_agent.server import NodeServer, Tls, start_server
from node_agent.status_writer import StatusWriter
from node_agent.vitals import node_usage, vitals
from node_agent.volumes import Volumes
from sampan import health, logs

HELP = "run one node's agent"
CLIENT_TTL = "kubelet_certificate_manager_client_ttl_seconds"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    name: str
    ip: str
    data: Path
    """Where pod volumes are kept."""
    listen: str = ""
    """host:port of the gRPC service; empty: the node's address and a free port."""
    runtime: str = "docker"
    """docker or hollow."""
    hollow_journal: Path | None = None
    """Where a hollow runtime keeps its containers, so that they outlive the agent; None: in memory alone."""
    docker: str = "unix:///var/run/docker.sock"
    pod_cidr: str = ""
    """Empty: the one that a controller writes into the Node."""
    cluster_cidr: str = "10.244.0.0/16"
    dns_ip: str = "10.96.0.10"
    domain: str = "cluster.local"
    resolv_conf: Path = Path("/etc/resolv.conf")
    plain_network: bool = False
    """No bridge, no overlay: pods get addresses that lead nowhere."""
    pods: int = 110
    memory: int = 0
    """Bytes to offer; 0: what the machine has."""
    cpus: float = 0.0
    lease: float = 10.0
    """Seconds between two signs of life; the cluster gives a node up after several have failed to come."""
    tls: Tls | None = None
    metrics: str = ""
    """host:port of /metrics, /healthz and /readyz; empty: not served."""
    labels: dict[str, str] = field(default_factory=dict)


def build(
    config: NodeConfig,
    client: Client,
    runtime: Runtime,
    *,
    machine: Machine,
    clock: Clock,
    rng: Random,
    dialer: Dialer,
    port: int = 0,
    checker: Checker | None = None,
    observer: Observer | None = None,
    network: PodNetwork | None = None,
    times: AgentTimes | None = None,
    metrics: NodeMetrics | None = None,
    log: logging.Logger | None = None,
) -> NodeAgent:
    """One agent from its parts; nothing runs yet."""
    logger = log or logging.getLogger(f"sampan.node.{config.name}")
    hollow = isinstance(runtime, HollowRuntime)
    seen = observer or Observer(runtime)
    offered = allocatable(machine)
    measured = metrics or NodeMetrics()
    if isinstance(runtime, DockerRuntime):
        runtime.timed = measured.runtime_operation
    events = EventRecorder(client, component=COMPONENT, clock=clock, rng=rng, host=config.name, log=logger)
    references = References(client, clock=clock)
    facts = NodeFacts(
        name=config.name,
        ip=config.ip,
        dns_ip=config.dns_ip,
        domain=config.domain,
        host_resolv="" if hollow else _text_of(config.resolv_conf),
        allocatable=offered,
    )
    if checker is None:
        if isinstance(runtime, HollowRuntime):
            checker = HollowChecker(runtime=runtime, clock=clock)
        else:
            checker = RealChecker(runtime=runtime, dialer=dialer)

    async def make_network(cidr: str) -> PodNetwork:
        if network is not None:
            return network
        if hollow or config.plain_network:
            return HostlessNetwork(cidr)
        from node_agent.network.pod_network import linux_pod_network

        return linux_pod_network(
            node_address=config.ip,
            pod_cidr=cidr,
            cluster_cidr=config.cluster_cidr,
            dns_address=config.dns_ip,
            domain=config.domain,
            random=rng,
            resolv_conf=config.resolv_conf,
        )

    def make_parts(network: PodNetwork, services: Informer[Service]) -> Parts:
        root = None if hollow else config.data
        volumes = Volumes(
            root=root, references=references, client=client, allocatable=offered, host_ip=config.ip, clock=clock
        )
        return Parts(
            client=client,
            runtime=runtime,
            observer=seen,
            network=network,
            volumes=volumes,
            references=references,
            checker=checker,
            statuses=StatusWriter(client, rng=rng, log=logger),
            events=events,
            clock=clock,
            rng=rng,
            facts=facts,
            services=lambda: services.cache,
            log=logger,
            metrics=measured,
        )

    return NodeAgent(
        client=client,
        runtime=runtime,
        observer=seen,
        who=NodeIdentity(name=config.name, ip=config.ip, port=port, labels=config.labels, pod_cidr=config.pod_cidr),
        machine=machine,
        make_network=make_network,
        make_parts=make_parts,
        events=events,
        clock=clock,
        rng=rng,
        log=logger,
        times=times,
        domain=config.domain,
        metrics=measured,
        vitals=None if hollow else lambda: vitals(config.data),
    )


async def run(
    config: NodeConfig, client: Client, *, host: str = IN_PROCESS, ready: Callable[[], None] | None = None
) -> None:
    """Runs the node until cancelled. Its pods outlive it. `host`: whom the client dials, for its metrics."""
    clock, rng = SystemClock(), Random()
    found = await asyncio.to_thread(machine, pods=config.pods)
    if config.memory or config.cpus:
        found = replace(found, memory=config.memory or found.memory, cpus=config.cpus or found.cpus)
    runtime: HollowRuntime | DockerRuntime
    dialer: Dialer
    if config.runtime == "hollow":
        prefix, journal = f"hollow-{config.name}", config.hollow_journal
        runtime = (
            JournaledHollowRuntime(journal, clock=clock, prefix=prefix)
            if journal
            else HollowRuntime(clock=clock, prefix=prefix)
        )
        dialer = NowhereDialer()
    else:
        runtime, dialer = DockerRuntime(node_name=config.name, base_url=config.docker), NamespaceDialer()
        await runtime.prepare()
    measured = NodeMetrics()
    if config.tls is not None:
        mine = Certificates(measured.registry, ttl=CLIENT_TTL, now=clock.now)
        mine.show("client", config.tls.certificate)
        mine.show("server", config.tls.certificate)
        mine.show("ca", config.tls.ca)
    observer = Observer(runtime)
    servicer = NodeServer(
        node=config.name,
        runtime=runtime,
        observer=observer,
        dialer=dialer,
        clock=clock,
        secure=config.tls is not None,
        machine=None if config.runtime == "hollow" else node_usage,
        numbers=lambda: generate_latest(health.Together([health.process_registry(), measured.registry])),
    )
    server, port = await start_server(servicer, address=config.listen or f"{config.ip}:0", tls=config.tls)
    client = MeasuredClient(client, host=host, metrics=measured.requests)
    agent = build(
        config,
        client,
        runtime,
        machine=found,
        clock=clock,
        rng=rng,
        dialer=dialer,
        port=port,
        observer=observer,
        times=AgentTimes(lease=config.lease),
        metrics=measured,
    )
    log = logging.getLogger(f"sampan.node.{config.name}")
    try:
        async with (
            health.serve(
                config.metrics,
                registry=measured.registry,
                ready=lambda: "" if agent.ready.is_set() else "the node has not joined yet",
                log=log,
            ) as where,
            asyncio.TaskGroup() as tasks,
        ):
            if where:
                log.info("metrics at http://%s/metrics", where)
            tasks.create_task(agent.run(), name=f"agent-{config.name}")
            reclaimer = VolumeReclaimer(
                client=client,
                node=config.name,
                on_disk=config.runtime != "hollow",
                clock=clock,
                rng=rng,
                log=log,
                metrics=measured,
            )
            tasks.create_task(reclaimer.run(), name=f"{reclaimer.name}-{config.name}")
            await agent.ready.wait()
            if ready is not None:
                ready()
    finally:
        await server.stop(grace=1.0)
        await runtime.close()


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser("node", help=HELP)
    _add_flags(parser)
    parser.set_defaults(run=run_from)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan node", description=HELP)
    _add_flags(parser)
    return run_from(parser.parse_args(argv))


def _add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=socket.gethostname(), help="the node's name")
    parser.add_argument("--address", required=True, help="the node's address, as the API server and nodes reach it")
    parser.add_argument("--kubeconfig", required=True, help="how to reach the API server, and this node's identity")
    parser.add_argument("--listen", default="", help="host:port for logs, exec and the like (default: a free port)")
    parser.add_argument("--data-dir", default="/var/lib/sampan/node", help="where pod volumes are kept")
    parser.add_argument("--runtime", choices=["docker", "hollow"], default="docker")
    parser.add_argument("--hollow-journal", type=Path, metavar="FILE", help="keeps hollow containers over a restart")
    parser.add_argument("--docker", default=os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    parser.add_argument("--pod-cidr", default="", help="pod addresses of this node (default: a controller gives it)")
    parser.add_argument("--cluster-cidr", default="10.244.0.0/16", help="pod addresses of the whole cluster")
    parser.add_argument("--cluster-dns", default="10.96.0.10")
    parser.add_argument("--cluster-domain", default="cluster.local")
    parser.add_argument("--resolv-conf", default="/etc/resolv.conf")
    parser.add_argument("--plain-network", action="store_true", help="no pod network: addresses lead nowhere")
    parser.add_argument("--max-pods", type=int, default=110)
    parser.add_argument("--memory", type=int, default=0, help="bytes to offer (default: all)")
    parser.add_argument("--cpus", type=float, default=0.0, help="cores to offer (default: all)")
    parser.add_argument("--lease", type=float, default=10.0, metavar="SECONDS", help="between two signs of life")
    parser.add_argument(
        "--metrics-address", default="", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz (default: not)"
    )
    parser.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")
    logs.add_flags(parser)


def run_from(args: argparse.Namespace) -> int:
    logs.start(args, node=args.name)
    return int(uvloop.run(_main(args)))


async def _main(args: argparse.Namespace) -> int:
    access = await asyncio.to_thread(load, args.kubeconfig)
    if not access.grpc or access.cert is None or access.key is None or access.ca is None:
        raise SystemExit(f"sampan node: {args.kubeconfig} must name a gRPC address, an authority and a certificate")
    config = NodeConfig(
        name=args.name,
        ip=args.address,
        data=Path(args.data_dir),
        listen=args.listen,
        runtime=args.runtime,
        hollow_journal=args.hollow_journal,
        docker=args.docker,
        pod_cidr=args.pod_cidr,
        cluster_cidr=args.cluster_cidr,
        dns_ip=args.cluster_dns,
        domain=args.cluster_domain,
        resolv_conf=Path(args.resolv_conf),
        plain_network=args.plain_network,
        pods=args.max_pods,
        memory=args.memory,
        cpus=args.cpus,
        lease=args.lease,
        tls=Tls(certificate=access.cert, key=access.key, ca=access.ca),
        metrics=args.metrics_address,
        labels=dict(label.partition("=")[::2] for label in args.label),
    )
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with (
        connect(access.grpc, ca=access.ca, cert=access.cert, key=access.key) as client,
        asyncio.TaskGroup() as tasks,
    ):
        node = tasks.create_task(run(config, client, host=access.grpc), name="node")
        await stop.wait()
        node.cancel()
    return 0


def _text_of(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
