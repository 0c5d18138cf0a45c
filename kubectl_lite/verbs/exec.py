"""exec: run a command in a container; with -it the terminal is handed over raw."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack

from kubeapi.errors import NotFound
from kubeapi.selectors import format_label_selector
from kubeapi.types import core_v1
from kubectl_lite import terminal
from kubectl_lite.names import Target, UsageError, parse_targets
from kubectl_lite.session import Remote, Session

HELP = "run a command in a container"
CHUNK = 32 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pod", metavar="POD|TYPE/NAME")
    parser.add_argument("-c", "--container", default="")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="a terminal for the command")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- COMMAND [ARG ...]")


async def run(args: argparse.Namespace, session: Session) -> int:
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise UsageError("give the command after --, e.g. exec web-1 -- ls /")
    words = [args.pod] if "/" in args.pod else ["pods", args.pod]
    name = await pod_of(parse_targets(words)[0], session)
    remote = await session.server.exec(
        name, session.namespace, command, container=args.container, tty=args.tty, stdin=args.stdin
    )
    with ExitStack() as stack:
        if args.tty and sys.stdin.isatty():
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
            await remote.resize(*terminal.size())
        async with asyncio.TaskGroup() as tasks:
            feeder = tasks.create_task(_feed(remote, session), name="stdin") if args.stdin else None
            async for channel, data in remote.output():
                sink = session.io.err if channel == 2 else session.io.out
                sink.write(data.decode(errors="replace"))
                sink.flush()
            if feeder is not None:
                feeder.cancel()
    return await remote.exit_code()


async def _feed(remote: Remote, session: Session) -> None:
    """A thread reads: standard input may be a file, a pipe or a terminal, and only a thread reads all three."""
    async for data in terminal.chunks(session.io.stdin, CHUNK):
        await remote.write(data)
    await remote.close_stdin()


async def pod_of(target: Target, session: Session) -> str:
    """A pod's own name, or the first pod that a workload's or service's selector finds."""
    if target.resource.kind == "Pod":
        return target.name
    owner = await session.server.get(target.resource.type, target.name, session.namespace)
    selector = getattr(getattr(owner, "spec", None), "selector", None)
    if not selector:
        raise UsageError(f"{target.resource.kind} {target.name} selects no pods; name a pod")
    pods = await session.server.list(core_v1.Pod, session.namespace, label_selector=format_label_selector(selector))
    ready = sorted(pods.items, key=lambda pod: (pod.status.phase != "Running", pod.metadata.name))
    if not ready:
        raise NotFound(f"{target.resource.kind} {target.name} has no pods")
    return ready[0].metadata.name
