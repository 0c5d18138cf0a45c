"""API server, scheduler and controllers in one process: `sampan controlplane`, what `sampan up` starts.

    doors ──► Api ◄── LocalClient ◄── scheduler, controllers

The loops speak to the API core by function call: nothing is encoded or copied, and their caches hold the very objects
that the server's own cache holds. For a cluster on one machine that is a third of the memory and most of the
processor time that three processes need (docs/decisions/0009-one-process.md has the figures). Each loop is still a client under
its own name, with its own lease, and knows no store: apart, they are `sampan apiserver`, `scheduler`, `controllers`.

A loop that fails is started again with backoff, and the server goes on; what ends the server ends the process.
"""

import argparse
import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from random import Random
from types import MappingProxyType

import uvloop

from controlplane.apiserver.api import Api
from controlplane.apiserver.context import RequestContext
from controlplane.controllers.metrics import Metrics as ControllerMetrics
from controlplane.scheduler.metrics import Metrics as SchedulerMetrics
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.client.measured import IN_PROCESS, MeasuredClient
from kubeapi.client.metrics import InformerNumbers
from kubeapi.clock import SystemClock
from kubeapi.tasks import Backoff, forever
from sampan import apiserver, controllers, election, health, logs, scheduler
from sampan.cluster_layout import CONTROLLERS, SCHEDULER
from sampan.cluster_pki import Identity

HELP = "run API server, scheduler and controllers in one process"
AGAIN = Backoff(first=0.5, most=10.0)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="sampan controlplane", description=HELP)
    apiserver.add_flags(made)
    controllers.add_flags(made)
    made.add_argument(
        "--metrics-address", default="", metavar="HOST:PORT",
        help="serve the loops' /metrics, /healthz and /readyz (default: not); the API server's are behind its own door",
    )  # fmt: skip
    election.add_flags(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    flags = parser()
    args = flags.parse_args(argv)
    election.check(flags, args)
    logs.start(args)
    uvloop.run(election.until_stopped(serve(args), name="controlplane"))
    return 0


async def serve(
    args: argparse.Namespace,
    *,
    ready: Callable[[], None] = lambda: None,
    others: Mapping[Identity, Callable[[Client], Awaitable[None]]] = MappingProxyType({}),
) -> None:
    """Until cancelled; raises what ends the server. `ready` is called when clients may come. `others`: more loops, each
    with the client that is given to it."""
    clock, rng = SystemClock(), Random()
    scheduling, controlling = SchedulerMetrics(), ControllerMetrics()
    ca = await asyncio.to_thread((args.pki / "ca.crt").read_bytes)
    registry = health.Together([scheduling.registry, controlling.registry])
    async with (
        apiserver.serving(args) as server,
        health.serve(args.metrics_address, registry=registry) as where,
        asyncio.TaskGroup() as loops,
    ):
        if where:
            logging.getLogger("controlplane").info("metrics at http://%s/metrics", where)

        def start(
            identity: Identity, lease: str, metrics: InformerNumbers, work: Callable[[Client], Awaitable[None]]
        ) -> None:
            client = MeasuredClient(_client(server.api, identity), host=IN_PROCESS, metrics=metrics.requests)
            elected = election.elector(args, client, clock=clock, rng=rng, lease=lease)
            election.observe(elected, metrics.registry)
            loops.create_task(
                forever(
                    lambda: election.lead(elected, lambda: work(client)), name=identity.file, rng=rng, backoff=AGAIN
                ),
                name=identity.file,
            )

        start(
            SCHEDULER, scheduler.LEASE, scheduling,
            lambda client: scheduler.run(client, clock=clock, rng=rng, metrics=scheduling),
        )  # fmt: skip
        start(
            CONTROLLERS, controllers.LEASE, controlling,
            lambda client: controllers.one_term(args, client, ca=ca, clock=clock, rng=rng, metrics=controlling),
        )  # fmt: skip
        for identity, work in others.items():
            loops.create_task(
                forever(partial(work, _client(server.api, identity)), name=identity.file, rng=rng, backoff=AGAIN),
                name=identity.file,
            )
        ready()


def _client(api: Api, identity: Identity) -> LocalClient:
    groups = (*identity.groups, "system:authenticated")
    manager = f"sampan-{identity.file}"
    return LocalClient(api, context=lambda: RequestContext(user=identity.name, groups=groups, field_manager=manager))
