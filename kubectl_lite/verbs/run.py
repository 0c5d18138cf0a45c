"""run: one pod from a few words; with -i or --attach joined to the terminal, with --rm gone afterwards."""

from __future__ import annotations

import argparse
from contextlib import aclosing
from typing import Any

from kubectl_lite import generate
from kubectl_lite.creating import send
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.remote import join
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow


def _flags(flags: Flags) -> None:
    flags.value("--image", help="of the container", metavar="IMAGE")
    flags.many("--env", help="KEY=VALUE (repeatable)", metavar="KEY=VALUE")
    flags.value("--port", help="that the container listens on", metavar="PORT")
    flags.value("-l", "--labels", help="of the pod; default: run=NAME", metavar="KEY=VALUE,...")
    flags.choice("--restart", choices=["Always", "OnFailure", "Never"], default="Always", help="restart policy")
    flags.switch("--command", help="what is behind -- replaces the image's command, not only its arguments")
    flags.switch("-i", "--stdin", help="pass standard input on; implies --attach")
    flags.switch("-t", "--tty", help="a terminal for the container")
    flags.switch("--attach", help="wait for the container and show what it writes")
    flags.switch("--rm", help="delete the pod afterwards; needs --attach or -i")
    flags.switch("-q", "--quiet", help="only the container's own output")
    flags.dry_run()
    flags.output()
    flags.validation()


async def run(args: argparse.Namespace, session: Session) -> int:
    if len(args.words) != 1:
        raise UsageError("exactly one NAME is required for run; arguments of the container stand behind --")
    if not args.image:
        raise UsageError("required flag(s) --image not set: run NAME --image=IMAGE")
    attach = args.attach or args.stdin
    if args.rm and not attach:
        raise UsageError("--rm should only be used for attached containers: add -i or --attach")
    if attach and args.dry_run != "none":
        raise UsageError("--dry-run can't be used with attached containers options (--attach, --stdin, or --tty)")
    name = args.words[0]
    made = generate.pod(
        name,
        args.image,
        labels=generate.pairs(args.labels.split(","), "--labels") if args.labels else {},
        env=args.env,
        port=args.port,
        restart=args.restart,
        words=args.rest or [],
        as_command=args.command,
        stdin=args.stdin,
        tty=args.tty,
    )
    if not attach:
        await send(made, args, session)
        return 0
    pods = await session.names.find("pods")
    await session.server.create(pods, made, session.namespace)
    try:
        return await _attached(name, args, session)
    finally:
        if args.rm:
            await session.server.delete(pods, name, session.namespace)
            if not args.quiet:
                session.io.say(f'pod "{name}" deleted')


async def _attached(name: str, args: argparse.Namespace, session: Session) -> int:
    pod = await _until(name, ("Running", "Succeeded", "Failed"), session)
    if pod["status"]["phase"] == "Running":
        await join(pod, [], session, container=name, tty=args.tty, stdin=args.stdin, attach=True, quiet=args.quiet)
    else:  # it was quicker than we were
        async with aclosing(session.server.logs(name, session.namespace)) as chunks:  # type: ignore[type-var]
            async for data in chunks:
                session.io.write_bytes(data)
    if args.restart == "Always":
        return 0
    pod = await _until(name, ("Succeeded", "Failed"), session)
    ended = [c.get("state", {}).get("terminated") or {} for c in pod["status"].get("containerStatuses") or []]
    return int(ended[0].get("exitCode", 0)) if ended else int(pod["status"]["phase"] == "Failed")


async def _until(name: str, phases: tuple[str, ...], session: Session) -> dict[str, Any]:
    pods = await session.names.find("pods")
    async with aclosing(follow(session, pods, session.namespace, fields=f"metadata.name={name}")) as events:  # type: ignore[type-var]
        async for type_, pod in events:
            if type_ == "DELETED":
                break
            if pod.get("status", {}).get("phase") in phases:
                return pod
    raise Failed(f'pod "{name}" was deleted before it was {" or ".join(phases)}')


VERB = Verb(
    help="Run one pod of an image.",
    usage="NAME --image=IMAGE [flags] [-- ARG ...]",
    examples="""
# In the background
kubectl-lite run web --image=nginx --port=80
# A shell that leaves nothing behind
kubectl-lite run -it --rm sh --image=busybox --restart=Never -- sh
""",
    flags=_flags,
    run=run,
)
