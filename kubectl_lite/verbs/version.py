"""version: of the client and of the server."""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

from kubectl_lite import output
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.value("-o", "--output", help="json or yaml", metavar="FORM")


async def run(args: argparse.Namespace, session: Session) -> int:
    try:
        mine = version("sampan")
    except PackageNotFoundError:
        mine = "unknown"
    server = await session.server.version()
    show = output.printer(args.output)
    if show is not None:
        session.io.out.write(show({"clientVersion": {"gitVersion": mine}, "serverVersion": server}))
    else:
        session.io.say(f"Client Version: {mine}")
        session.io.say(f"Server Version: {server['gitVersion']}")
    return 0


VERB = Verb("Print the versions of client and server.", "[flags]", "kubectl-lite version -o yaml", _flags, run)
