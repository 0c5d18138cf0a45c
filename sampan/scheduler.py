"""Composition of the scheduler: `sampan scheduler`."""

import argparse
import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from random import Random

import uvloop

from controlplane.scheduler.metrics import Metrics
from controlplane.scheduler.scheduler import Scheduler
from kubeapi.client import grpc_client
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.client.measured import MeasuredClient
from kubeapi.clock import Clock, SystemClock
from sampan import election, health, logs

HELP = "run the scheduler"
LEASE = "kube-scheduler"


async def run(client: Client, *, clock: Clock, rng: Random, metrics: Metrics | None = None) -> None:
    """Until cancelled."""
    await Scheduler(client, clock=clock, rng=rng, metrics=metrics).run()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan scheduler", description=HELP)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument(
        "--metrics-address", default="", metavar="HOST:PORT", help="serve /metrics, /healthz and /readyz (default: not)"
    )
    election.add_flags(parser, lease=LEASE)
    logs.add_flags(parser)
    args = parser.parse_args(argv)
    election.check(parser, args)
    logs.start(args)
    uvloop.run(election.until_stopped(_serve(args), name="scheduler"))
    return 0


async def _serve(args: argparse.Namespace) -> None:
    config = await asyncio.to_thread(load, str(args.kubeconfig))
    clock, rng, metrics = SystemClock(), Random(), Metrics()
    async with grpc_client.connect(
        config.grpc,
        ca=config.ca,
        cert=config.cert,
        key=config.key,
        token=config.token,
        field_manager="sampan-scheduler",
    ) as dialled:
        client = MeasuredClient(dialled, host=config.grpc, metrics=metrics.requests)
        elected = election.elector(args, client, clock=clock, rng=rng)
        election.observe(elected, metrics.registry)
        health.show_client(metrics.registry, cert=config.cert, ca=config.ca)
        async with health.serve(args.metrics_address, registry=metrics.registry) as where:
            if where:
                logging.getLogger("scheduler").info("metrics at http://%s/metrics", where)
            await election.lead(elected, lambda: run(client, clock=clock, rng=rng, metrics=metrics))
