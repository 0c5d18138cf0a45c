"""scale: set the number of replicas through the scale subresource."""

from __future__ import annotations

import argparse
import asyncio

from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow
from kubectl_lite.writing import report, writing_of


def _flags(flags: Flags) -> None:
    flags.number("--replicas", help="how many (required)")
    flags.number("--current-replicas", help="only if there are so many now")
    flags.value("--resource-version", help="only if the object is at this version", metavar="VERSION")
    flags.value("--timeout", default="0s", help="wait so long until there are so many; 0: do not wait", metavar="TIME")
    flags.files()
    flags.selector()
    flags.dry_run()
    flags.output()


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.replicas is None:
        raise UsageError("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    if args.replicas < 0:
        raise UsageError("The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0")
    chosen = await choose(args, session)
    if not chosen:
        raise Failed("no objects passed to scale")
    for one in chosen:
        if not one.resource.scale:
            raise UsageError(
                f"{one.resource.plural} cannot be scaled; name a deployment, replicaset, statefulset or another "
                "workload with replicas"
            )
        await _scale(one, args, session)
    return 0


async def _scale(one: Chosen, args: argparse.Namespace, session: Session) -> None:
    scale = await session.server.get(one.resource, one.name, one.namespace, subresource="scale")
    now = scale.get("spec", {}).get("replicas", 0)
    if args.current_replicas is not None and args.current_replicas >= 0 and now != args.current_replicas:
        raise Failed(f"Expected replicas to be {args.current_replicas}, was {now}")
    patch: dict[str, object] = {"spec": {"replicas": args.replicas}}
    version = args.resource_version or (scale["metadata"]["resourceVersion"] if args.current_replicas else "")
    if version:
        patch["metadata"] = {"resourceVersion": version}
    if args.dry_run == "none" or args.dry_run == "server":
        await session.server.patch(
            one.resource, one.name, patch, one.namespace, subresource="scale", writing=writing_of(args, session)
        )
    obj = await session.server.get(one.resource, one.name, one.namespace)
    report(args, session, obj, "scaled")
    seconds = parse_duration(args.timeout)
    if seconds and args.dry_run == "none":
        try:
            async with asyncio.timeout(seconds):
                await _reached(one, args.replicas, session)
        except TimeoutError:
            raise Failed(
                f"timed out after {args.timeout} waiting for {one.title} to have {args.replicas} pods"
            ) from None


async def _reached(one: Chosen, replicas: int, session: Session) -> None:
    async for type_, obj in follow(session, one.resource, one.namespace, fields=f"metadata.name={one.name}"):
        if type_ in ("ADDED", "MODIFIED"):
            status = obj.get("status", {})
            observed = status.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
            if observed and status.get("replicas", 0) == replicas:
                return


VERB = Verb(
    help="Set the number of replicas of a workload.",
    usage="--replicas=COUNT (-f FILE | TYPE NAME ... | TYPE/NAME ...) [flags]",
    examples="""
# Three pods
kubectl-lite scale --replicas=3 deploy/web
# Only if there are two now
kubectl-lite scale --current-replicas=2 --replicas=3 deploy/web
# Several at once
kubectl-lite scale --replicas=0 deploy/web sts/db
""",
    flags=_flags,
    run=run,
)
