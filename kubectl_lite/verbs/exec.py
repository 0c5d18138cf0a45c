"""exec: run a command in a container; with -it the terminal is handed over raw."""

from __future__ import annotations

import argparse

from kubectl_lite.choosing import one_pod
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.remote import container_of, join
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.value("-c", "--container", help="which container; default: the first", metavar="NAME")
    flags.switch("-i", "--stdin", help="pass standard input on")
    flags.switch("-t", "--tty", help="a terminal for the command")
    flags.switch("-q", "--quiet", help="only the command's own output")


async def run(args: argparse.Namespace, session: Session) -> int:
    if not args.words:
        raise UsageError("pod, type/name or --filename must be specified: exec web-1 -- ls /")
    if not args.rest:
        raise UsageError("you must specify at least one command for the container, after --: exec web-1 -- ls /")
    if len(args.words) > 1:
        raise UsageError("exec [POD] [COMMAND] is not supported: write exec POD -- COMMAND ARG ...")
    pod = await one_pod(args.words[0], session)
    phase = pod.get("status", {}).get("phase", "")
    if phase in ("Succeeded", "Failed"):
        raise Failed(f"cannot exec into a container in a completed pod; current phase is {phase}")
    container = container_of(pod, args.container, session)
    code = await join(pod, args.rest, session, container=container, tty=args.tty, stdin=args.stdin)
    if code:
        session.io.out.flush()
        session.io.tell(f"command terminated with exit code {code}")
    return code


VERB = Verb(
    help="Run a command in a container. Its exit code becomes ours.",
    usage="(POD | TYPE/NAME) [-c CONTAINER] [flags] -- COMMAND [ARG ...]",
    examples="""
# One command
kubectl-lite exec web-1 -- ls /
# A shell
kubectl-lite exec -it deploy/web -- sh
# Into a file there
kubectl-lite exec -i web-1 -- sh -c 'cat > /tmp/data' < data
""",
    flags=_flags,
    run=run,
)
