"""version: of the client and of the server."""

from __future__ import annotations

import argparse
from typing import Any

from kubeapi.version import GIT_VERSION, MAJOR, MINOR, release
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.value("-o", "--output", help="json or yaml", metavar="FORM")
    flags.switch("--client", help="the client's only: no server is asked")


async def run(args: argparse.Namespace, session: Any) -> int:
    """With --client `session` is a Local. The versions are those of the Kubernetes API; -o tells our own release, too."""
    found: dict[str, Any] = {"clientVersion": {"gitVersion": GIT_VERSION}}
    if not args.client:
        found["serverVersion"] = await session.server.version()
    show = output.printer(args.output)
    if show is not None:
        found["clientVersion"] |= {"major": MAJOR, "minor": MINOR, "release": release()}
        session.io.out.write(show(found))
        return 0
    for title, key in (("Client", "clientVersion"), ("Server", "serverVersion")):
        if key in found:
            session.io.say(f"{title} Version: {found[key]['gitVersion']}")
    return 0


VERB = Verb(
    "Print the versions of client and server.",
    "[flags]",
    "kubectl-lite version\nkubectl-lite version --client\nkubectl-lite version -o yaml",
    _flags,
    run,
    offline=lambda args: bool(args.client),
    awaits=False,
)
