"""create: new objects from manifests; refused when they exist."""

from __future__ import annotations

import argparse

from kubeapi import codec
from kubectl_lite import output
from kubectl_lite.manifests import read
from kubectl_lite.session import Session

HELP = "create objects from manifests"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", action="append", required=True, help="file, folder, or - (repeatable)")
    parser.add_argument("-R", "--recursive", action="store_true")
    parser.add_argument("-o", "--output", choices=["json", "yaml", "name"], default="")


async def run(args: argparse.Namespace, session: Session) -> int:
    for manifest in read(args.filename, session.io, namespace=session.namespace, recursive=args.recursive):
        made = await session.server.create(codec.from_builtins(manifest.resource.type, manifest.object))
        obj = codec.to_builtins(made)
        if args.output:
            output.print_objects([obj], args.output, session.io, single=True)
        else:
            session.io.say(f"{output.object_name(obj)} created")
    return 0
