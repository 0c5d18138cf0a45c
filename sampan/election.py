"""Flags and life of a component of which only one instance may be active: `sampan controllers`, `sampan scheduler`.

    until stopped:  campaign ──► lead() ──lease lost──► campaign again, with a new lead()
    stopped:        lead() ends first, then the lease is released: the next instance takes it at its next look

Every term of office begins with empty caches and queues: what was planned on an old picture dies with the old term.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from random import Random

from prometheus_client import CollectorRegistry, Gauge

from kubeapi.client.interface import Client
from kubeapi.client.lease import LeaderElector, LeaseTimes
from kubeapi.clock import Clock
from kubeapi.meta import new_uid

NAMESPACE = "kube-system"


def add_flags(parser: argparse.ArgumentParser, *, lease: str = "") -> None:
    """`lease`: the name by default; "" where the process has several, whose names are fixed."""
    times = LeaseTimes()
    group = parser.add_argument_group("leader election")
    group.add_argument(
        "--leader-elect", type=_boolean, nargs="?", const=True, default=True, metavar="true|false",
        help="work only while holding the lease, so that several instances may run (default true)",
    )  # fmt: skip
    group.add_argument(
        "--leader-elect-lease-duration", type=float, default=times.duration, metavar="SECONDS",
        help="how long the others wait after the last renewal that they saw (default %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--leader-elect-renew-deadline", type=float, default=times.renew_deadline, metavar="SECONDS",
        help="how long a leader works on without a successful renewal (default %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--leader-elect-retry-period", type=float, default=times.retry, metavar="SECONDS",
        help="between attempts to take or renew the lease (default %(default)s)",
    )  # fmt: skip
    if lease:
        group.add_argument("--leader-elect-resource-name", default=lease, metavar="NAME", help="default %(default)s")
    group.add_argument("--leader-elect-resource-namespace", default=NAMESPACE, metavar="NAME")
    group.add_argument(
        "--leader-elect-identity", default="", metavar="NAME",
        help="of this instance; one that comes back under its old name, with the old process surely gone, need not "
        "wait for its own lease to run out (default: the host's name and a random part)",
    )  # fmt: skip


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def times_of(args: argparse.Namespace) -> LeaseTimes:
    """Raises ValueError for times that could make two leaders."""
    return LeaseTimes(
        duration=args.leader_elect_lease_duration,
        renew_deadline=args.leader_elect_renew_deadline,
        retry=args.leader_elect_retry_period,
    )


def check(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Ends the program where the flags make no sense together."""
    try:
        times_of(args)
    except ValueError as error:
        parser.error(
            f"{error}: retry-period {args.leader_elect_retry_period}, renew-deadline "
            f"{args.leader_elect_renew_deadline}, lease-duration {args.leader_elect_lease_duration}"
        )


def elector(
    args: argparse.Namespace, client: Client, *, clock: Clock, rng: Random, lease: str = ""
) -> LeaderElector | None:
    """`lease`: its name, where no flag gives one. None: there is nobody to compete with."""
    if not args.leader_elect:
        return None
    return LeaderElector(
        client,
        name=lease or args.leader_elect_resource_name,
        namespace=args.leader_elect_resource_namespace,
        identity=args.leader_elect_identity or f"{socket.gethostname()}_{new_uid(rng)}",
        clock=clock,
        rng=rng,
        times=times_of(args),
    )


def observe(elected: LeaderElector | None, registry: CollectorRegistry) -> None:
    """leader_election_master_status, as Kubernetes' components tell it; without election this one always leads."""
    gauge = Gauge("leader_election_master_status", "1: this instance leads.", ["name"], registry=registry)
    name = elected.name if elected is not None else "none"
    gauge.labels(name).set_function(lambda: float(elected is None or elected.leading))


async def lead(elected: LeaderElector | None, work: Callable[[], Awaitable[None]]) -> None:
    """`work` is called anew for every term. Until cancelled, or until `work` ends by itself."""
    if elected is None:
        await work()
    else:
        await elected.run(work)


async def until_stopped(run: Awaitable[None], *, name: str) -> None:
    """Runs until TERM or INT; then cancels and waits, so that the lease is released. What failed is raised."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    running = asyncio.ensure_future(run)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    ended = running.done()
    for task in (running, stopping):
        task.cancel()
    await asyncio.wait([running, stopping])
    if ended:
        running.result()
        logging.getLogger(name).error("%s has ended by itself", name)
    elif not running.cancelled() and (error := running.exception()) is not None:
        raise error
