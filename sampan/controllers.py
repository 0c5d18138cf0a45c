"""Composition of the controller manager: `sampan controllers`."""

import argparse
import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import uvloop

from controlplane.controllers.cronjob.controller import CronJobs
from controlplane.controllers.daemonset.controller import DaemonSets
from controlplane.controllers.deployment.controller import Deployments
from controlplane.controllers.disruption.controller import Disruptions
from controlplane.controllers.endpoints.controller import EndpointSlices
from controlplane.controllers.endpoints.mirror import EndpointMirror
from controlplane.controllers.garbage.controller import GarbageCollector
from controlplane.controllers.job.controller import Jobs
from controlplane.controllers.manager import ControllerManager
from controlplane.controllers.metrics import Metrics
from controlplane.controllers.namespace.controller import Namespaces
from controlplane.controllers.nodeipam.controller import NodeIpam
from controlplane.controllers.nodelifecycle.controller import NodeLifecycle
from controlplane.controllers.nodelifecycle.metrics import Nodes
from controlplane.controllers.podgc.controller import PodGarbageCollector
from controlplane.controllers.replicaset.controller import ReplicaSets
from controlplane.controllers.serviceaccount.controller import ServiceAccounts
from controlplane.controllers.shared import Runnable, Shared
from controlplane.controllers.statefulset.controller import StatefulSets
from controlplane.controllers.volumes.controller import DIRECTORY, Volumes
from kubeapi.client import grpc_client
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.client.measured import MeasuredClient
from kubeapi.clock import Clock, SystemClock
from sampan import election, health, logs

HELP = "run the controllers"
LEASE = "kube-controller-manager"


def builders(
    *,
    cluster_cidr: str,
    ca: str,
    node_monitor_grace: float,
    pod_eviction: float | None,
    local_path: str,
    show_nodes: Callable[[Nodes], None] = lambda nodes: None,
) -> list[Callable[[Shared], Sequence[Runnable]]]:
    """Every controller that we have; tests build the same list."""

    def node_lifecycle(shared: Shared) -> Sequence[Runnable]:
        grace = node_monitor_grace
        return [NodeLifecycle(shared, grace=grace, pod_eviction=pod_eviction, show=show_nodes).controller]

    return [
        lambda shared: [ReplicaSets(shared).controller],
        lambda shared: [Deployments(shared).controller],
        lambda shared: [EndpointSlices(shared).controller],
        lambda shared: [EndpointMirror(shared).controller],
        lambda shared: [DaemonSets(shared).controller],
        lambda shared: [StatefulSets(shared).controller],
        lambda shared: [Jobs(shared).controller],
        lambda shared: [CronJobs(shared).controller],
        lambda shared: [Disruptions(shared).controller],
        lambda shared: [Namespaces(shared).controller],
        lambda shared: [GarbageCollector(shared).controller],
        node_lifecycle,
        lambda shared: Volumes(shared, directory=local_path).controllers,
        lambda shared: [PodGarbageCollector(shared).controller],
        lambda shared: [NodeIpam(shared, cluster_cidr=cluster_cidr).controller],
        lambda shared: [ServiceAccounts(shared, ca=ca).controller],
    ]


def manager(
    client: Client,
    *,
    clock: Clock,
    rng: Random,
    cluster_cidr: str = "10.244.0.0/16",
    ca: str = "",
    node_monitor_grace: float = 40.0,
    pod_eviction: float | None = None,
    local_path: str = DIRECTORY,
    metrics: Metrics | None = None,
) -> ControllerManager:
    return ControllerManager(
        metrics=metrics,
        client=client,
        clock=clock,
        rng=rng,
        builders=builders(
            cluster_cidr=cluster_cidr,
            ca=ca,
            node_monitor_grace=node_monitor_grace,
            pod_eviction=pod_eviction,
            local_path=local_path,
            show_nodes=metrics.zones.watched if metrics is not None else lambda nodes: None,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan controllers", description=HELP)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    add_flags(parser)
    parser.add_argument(
        "--metrics-address", default="", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz (default: not)"
    )
    election.add_flags(parser, lease=LEASE)
    logs.add_flags(parser)
    args = parser.parse_args(argv)
    election.check(parser, args)
    logs.start(args)
    uvloop.run(election.until_stopped(_serve(args), name="controllers"))
    return 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster-cidr", default="10.244.0.0/16", help="network of all pods; a /24 of it per node")
    parser.add_argument("--node-monitor-grace", type=float, default=40.0, metavar="SECONDS")
    parser.add_argument("--pod-eviction", type=float, default=None, metavar="SECONDS")
    parser.add_argument(
        "--local-path-directory", default=DIRECTORY, metavar="PATH", help="of provisioned volumes, on every node"
    )


async def one_term(
    args: argparse.Namespace, client: Client, *, ca: bytes, clock: Clock, rng: Random, metrics: Metrics
) -> None:
    """A leader's, until cancelled. Whoever does not lead tells no queues and no nodes."""
    metrics.reset()
    found = manager(
        client,
        clock=clock,
        rng=rng,
        cluster_cidr=args.cluster_cidr,
        ca=ca.decode(),
        node_monitor_grace=args.node_monitor_grace,
        pod_eviction=args.pod_eviction,
        local_path=args.local_path_directory,
        metrics=metrics,
    )
    try:
        await found.run()
    finally:
        metrics.zones.watched(None)


async def _serve(args: argparse.Namespace) -> None:
    config = await asyncio.to_thread(load, str(args.kubeconfig))
    clock, rng, metrics = SystemClock(), Random(), Metrics()
    async with grpc_client.connect(
        config.grpc,
        ca=config.ca,
        cert=config.cert,
        key=config.key,
        token=config.token,
        field_manager="sampan-controllers",
    ) as dialled:
        client = MeasuredClient(dialled, host=config.grpc, metrics=metrics.requests)

        async def work() -> None:
            await one_term(args, client, ca=config.ca or b"", clock=clock, rng=rng, metrics=metrics)

        elected = election.elector(args, client, clock=clock, rng=rng)
        election.observe(elected, metrics.registry)
        health.show_client(metrics.registry, cert=config.cert, ca=config.ca)
        async with health.serve(args.metrics_address, registry=metrics.registry) as where:
            if where:
                logging.getLogger("controllers").info("metrics at http://%s/metrics", where)
            await election.lead(elected, work)
