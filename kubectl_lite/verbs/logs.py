"""logs: what a pod's containers wrote."""

from __future__ import annotations

import argparse

from kubectl_lite.names import UsageError, parse_targets
from kubectl_lite.session import Session
from kubectl_lite.verbs.exec import pod_of

HELP = "print a container's output"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", metavar="POD|TYPE/NAME")
    parser.add_argument("-c", "--container", default="")
    parser.add_argument("-f", "--follow", action="store_true")
    parser.add_argument("-p", "--previous", action="store_true", help="of the container before the last restart")
    parser.add_argument("--tail", type=int, default=None, metavar="LINES")
    parser.add_argument("--since", type=int, default=None, metavar="SECONDS")
    parser.add_argument("--timestamps", action="store_true")


async def run(args: argparse.Namespace, session: Session) -> int:
    words = [args.pod] if "/" in args.pod else ["pods", args.pod]
    targets = parse_targets(words)
    if len(targets) != 1:
        raise UsageError("logs takes one pod")
    name = await pod_of(targets[0], session)
    async for piece in session.server.logs(
        name,
        session.namespace,
        container=args.container,
        follow=args.follow,
        previous=args.previous,
        tail=args.tail,
        since_seconds=args.since,
        timestamps=args.timestamps,
    ):
        session.io.out.write(piece.decode(errors="replace"))
        session.io.out.flush()
    return 0
