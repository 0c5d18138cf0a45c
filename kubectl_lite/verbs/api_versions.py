"""api-versions: group/version of everything the server serves."""

from __future__ import annotations

import argparse

from kubectl_lite.session import Session
from kubectl_lite.verb import Verb, no_flags


async def run(args: argparse.Namespace, session: Session) -> int:
    for name in sorted({r.api_version for r in await session.names.served()}):
        session.io.say(name)
    return 0


VERB = Verb("List the API versions that the server serves.", "", "kubectl-lite api-versions", no_flags, run)
