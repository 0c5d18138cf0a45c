"""A command in a container, joined to the person's terminal: bytes both ways, raw mode, the window's size, the code."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from kubectl_lite import terminal
from kubectl_lite.errors import UsageError
from kubectl_lite.session import Session

CHUNK = 32 * 1024
DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


def container_of(pod: dict[str, Any], wanted: str, session: Session) -> str:
    """Raises UsageError naming those that there are."""
    spec = pod.get("spec", {})
    main = [c["name"] for c in spec.get("containers", [])]
    every = main + [c["name"] for kind in ("initContainers", "ephemeralContainers") for c in spec.get(kind, [])]
    name = pod["metadata"]["name"]
    if wanted:
        if wanted not in every:
            raise UsageError(f"container {wanted} is not valid for pod {name}; choose one of: {every}")
        return wanted
    marked = (pod["metadata"].get("annotations") or {}).get(DEFAULT_CONTAINER, "")
    if marked in main:
        return str(marked)
    if len(main) > 1:
        session.io.tell(f'Defaulted container "{main[0]}" out of: {", ".join(_kinds(spec))}')
    return main[0] if main else ""


def _kinds(spec: dict[str, Any]) -> list[str]:
    return [
        *(c["name"] for c in spec.get("containers", [])),
        *(f"{c['name']} (ephem)" for c in spec.get("ephemeralContainers", [])),
        *(f"{c['name']} (init)" for c in spec.get("initContainers", [])),
    ]


async def join(
    pod: dict[str, Any],
    command: Sequence[str],
    session: Session,
    *,
    container: str,
    tty: bool,
    stdin: bool,
    attach: bool = False,
    quiet: bool = False,
) -> int:
    """Returns the command's exit code."""
    mine = stdin and session.io.stdin is getattr(sys.stdin, "buffer", None) and sys.stdin.isatty()
    if tty and not mine:
        session.io.tell("Unable to use a TTY - input is not a terminal or the right kind of file")
        tty = False
    remote = await session.server.exec(
        pod["metadata"]["name"],
        pod["metadata"]["namespace"],
        command,
        container=container,
        tty=tty,
        stdin=stdin,
        attach=attach,
    )
    with ExitStack() as stack:
        if tty:
            if attach and not quiet:
                session.io.tell("If you don't see a command prompt, try pressing enter.")
            stack.enter_context(terminal.raw(sys.stdin.fileno()))
        async with asyncio.TaskGroup() as tasks:
            helpers = []
            if tty:
                helpers.append(tasks.create_task(terminal.tell_sizes(remote.resize), name="window"))
            if stdin:
                helpers.append(tasks.create_task(_feed(remote, session), name="stdin"))
            try:
                async for channel, data in remote.output():
                    session.io.write_bytes(data, error=channel == 2)
            finally:
                for helper in helpers:
                    helper.cancel()
    return int(await remote.exit_code())


async def _feed(remote: Any, session: Session) -> None:
    async for data in terminal.chunks(session.io.stdin, CHUNK):
        await remote.write(data)
    await remote.close_stdin()
