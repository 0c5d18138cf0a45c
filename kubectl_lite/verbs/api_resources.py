"""api-resources: what can be asked for, by which names."""

from __future__ import annotations

import argparse

from kubeapi.scheme import SCHEME
from kubectl_lite import output
from kubectl_lite.session import Session

HELP = "list the resource types"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=["name", "wide"], default="")
    parser.add_argument("--namespaced", choices=["true", "false"], default="")
    parser.add_argument("--no-headers", action="store_true")


async def run(args: argparse.Namespace, session: Session) -> int:
    found = [
        r
        for r in sorted(SCHEME.resources, key=lambda r: (r.group, r.plural))
        if not args.namespaced or r.namespaced == (args.namespaced == "true")
    ]
    if args.output == "name":
        for r in found:
            session.io.say(f"{r.plural}.{r.group}" if r.group else r.plural)
        return 0
    rows = [
        (
            r.plural,
            ",".join(r.short),
            f"{r.group}/{r.version}" if r.group else r.version,
            str(r.namespaced).lower(),
            r.kind,
        )
        for r in found
    ]
    header = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    output.columns(header, rows, session.io, show_header=not args.no_headers)
    return 0
