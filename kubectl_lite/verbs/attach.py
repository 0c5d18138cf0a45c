"""attach: to the process that a container already runs."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite.choosing import one_pod
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.remote import container_of, join
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.value("-c", "--container", help="which container; default: the first", metavar="NAME")
    flags.switch("-i", "--stdin", help="pass standard input on")
    flags.switch("-t", "--tty", help="the container has a terminal")
    flags.switch("-q", "--quiet", help="only the container's own output")


async def run(args: argparse.Namespace, session: Session) -> int:
    if len(args.words) != 1:
        raise UsageError("attach takes one POD or TYPE/NAME")
    pod = await one_pod(args.words[0], session)
    phase = pod.get("status", {}).get("phase", "")
    if phase in ("Succeeded", "Failed"):
        raise Failed(f"cannot attach a container in a completed pod; current phase is {phase}")
    container = container_of(pod, args.container, session)
    spec: dict[str, Any] = next((c for c in pod["spec"]["containers"] if c["name"] == container), {})
    tty = args.tty
    if tty and not spec.get("tty"):
        session.io.tell(f"error: Unable to use a TTY - container {container} did not allocate one")
        tty = False
    return await join(pod, [], session, container=container, tty=tty, stdin=args.stdin, attach=True, quiet=args.quiet)


VERB = Verb(
    help="Attach to the process that a container already runs.",
    usage="(POD | TYPE/NAME) [-c CONTAINER] [flags]",
    examples="""
# See what it writes from now on
kubectl-lite attach web-1
# Talk to it
kubectl-lite attach -it shell
""",
    flags=_flags,
    run=run,
)
