"""Composition of the scheduler: `sampan scheduler`."""

import argparse
import asyncio
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from random import Random, SystemRandom

import uvloop

from controlplane.scheduler.scheduler import Scheduler
from kubeapi.client import grpc_client
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.clock import Clock, SystemClock

HELP = "run the scheduler"


async def run(client: Client, *, clock: Clock, rng: Random) -> None:
    """Until cancelled."""
    await Scheduler(client, clock=clock, rng=rng).run()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan scheduler", description=HELP)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    uvloop.run(_serve(args))
    return 0


async def _serve(args: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    config = await asyncio.to_thread(load, str(args.kubeconfig))
    async with grpc_client.connect(
        config.grpc,
        ca=config.ca,
        cert=config.cert,
        key=config.key,
        token=config.token,
        field_manager="sampan-scheduler",
    ) as client:
        running = asyncio.create_task(run(client, clock=SystemClock(), rng=SystemRandom()), name="scheduler")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        for task in (running, stopping):
            task.cancel()
        await asyncio.wait([running, stopping])
