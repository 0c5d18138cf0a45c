"""autoscale: a HorizontalPodAutoscaler for a workload."""

from __future__ import annotations

import argparse

from kubectl_lite import generate
from kubectl_lite.choosing import choose
from kubectl_lite.creating import send
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.files()
    flags.number("--min", help="at least so many pods")
    flags.number("--max", help="at most so many pods (required)")
    flags.number("--cpu-percent", help="of what the pods have asked for", metavar="PERCENT")
    flags.value("--name", help="of the autoscaler; default: the workload's", metavar="NAME")
    flags.dry_run()
    flags.output()
    flags.validation()


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.max is None or args.max < 1:
        raise UsageError("--max=MAXPODS is required and must be at least 1")
    for one in await choose(args, session):
        if not one.resource.scale:
            raise UsageError(f"{one.title} cannot be scaled")
        target = await session.server.get(one.resource, one.name, one.namespace)
        made = generate.autoscaler(target, args.name or one.name, least=args.min, most=args.max, cpu=args.cpu_percent)
        await send(made, args, session, "autoscaled")
    return 0


VERB = Verb(
    help="Let the number of replicas follow the load.",
    usage="TYPE/NAME --max=COUNT [flags]",
    examples="kubectl-lite autoscale deploy/web --min=2 --max=10 --cpu-percent=80",
    flags=_flags,
    run=run,
)
