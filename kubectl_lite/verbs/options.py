"""options: the flags that every verb takes."""

from __future__ import annotations

import argparse

from kubectl_lite.flags import add_common
from kubectl_lite.local import Local
from kubectl_lite.verb import Verb, no_flags


async def run(args: argparse.Namespace, local: Local) -> int:
    parser = argparse.ArgumentParser(add_help=False, usage=argparse.SUPPRESS)
    add_common(parser.add_argument_group("The following flags can be given to any command"))
    local.io.out.write(parser.format_help())
    return 0


VERB = Verb(
    "List the flags that every verb takes.", "", "kubectl-lite options", no_flags, run, local=True, awaits=False
)
