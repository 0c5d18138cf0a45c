"""scale: set the number of replicas through the scale subresource."""

from __future__ import annotations

import argparse

from kubeapi import codec
from kubectl_lite import output
from kubectl_lite.names import UsageError, parse_targets
from kubectl_lite.session import Session

HELP = "set the number of replicas"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="TYPE/NAME")
    parser.add_argument("--replicas", type=int, required=True)


async def run(args: argparse.Namespace, session: Session) -> int:
    for target in parse_targets(args.what):
        if not target.name or not target.resource.scale:
            raise UsageError(f"{target.resource.plural} cannot be scaled; name a deployment, replicaset or statefulset")
        obj = await session.server.patch(
            target.resource.type,
            target.name,
            {"spec": {"replicas": args.replicas}},
            namespace=session.namespace_of(target.resource),
        )
        session.io.say(f"{output.object_name(codec.to_builtins(obj))} scaled")
    return 0
