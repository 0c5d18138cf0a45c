"""delete: by name, by selector, or what manifests name; waits until the objects are gone."""

from __future__ import annotations

import argparse
import asyncio

from kubeapi.errors import ApiError, NotFound
from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow
from kubectl_lite.writing import dry_run_of

CASCADES = {"background": "Background", "foreground": "Foreground", "orphan": "Orphan", "true": "Background"}


def _flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.everywhere()
    flags.dry_run()
    flags.number("--grace-period", help="seconds that a pod gets to end; default: what it asks for", metavar="SECONDS")
    flags.switch("--now", help="the same as --grace-period=1")
    flags.switch("--force", help="with a grace period of 0: do not wait for the node to say that the pod has ended")
    flags.value("--cascade", default="background", help="background, foreground or orphan", metavar="HOW")
    flags.switch("--ignore-not-found", help="exit with 0 when an object is not there")
    flags.switch("--wait", default=True, help="until the objects are gone, finalizers and all")
    flags.value("--timeout", default="0s", help="of the waiting; 0 is none", metavar="TIME")
    flags.value("-o", "--output", help="name: shorter lines", metavar="name")


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.output not in ("", "name"):
        raise UsageError(f'unexpected -o output mode: {args.output}. We only support "-o name"')
    if args.cascade not in CASCADES:
        raise UsageError(f'invalid cascade value ({args.cascade}). Must be "background", "foreground", or "orphan"')
    grace = _grace(args)
    if grace == 0:
        session.io.warn(
            "Immediate deletion does not wait for confirmation that the running resource has been terminated. "
            "The resource may continue to run on the cluster indefinitely."
        )
    ignore = args.ignore_not_found or args.all
    chosen = await choose(args, session)
    if not chosen:
        session.io.say("No resources found")
    dry = dry_run_of(args, session)
    status, waiting = 0, []
    for one in chosen:
        try:
            if dry == "client":
                await session.server.get(one.resource, one.name, one.namespace)
            else:
                await session.server.delete(
                    one.resource,
                    one.name,
                    one.namespace,
                    grace=grace,
                    propagation=CASCADES[args.cascade],
                    dry_run=dry == "server",
                )
        except NotFound as error:
            if not ignore:
                session.io.err.write(explain(error, session.address))
                status = 1
            continue
        except ApiError as error:
            session.io.err.write(explain(error, session.address))
            status = 1
            continue
        note = {"client": " (dry run)", "server": " (server dry run)"}.get(dry, "")
        if args.output == "name":
            session.io.say(one.title)
        else:
            session.io.say(f"{one.quoted} {'force deleted' if grace == 0 else 'deleted'}{note}")
        waiting.append(one)
    session.io.out.flush()
    if args.wait and dry == "none":
        await _all_gone(waiting, args, session)
    return status


def _grace(args: argparse.Namespace) -> int | None:
    if args.now and args.grace_period is not None:
        raise UsageError("--now and --grace-period cannot be specified together")
    if args.now:
        return 1
    if args.force:
        if args.grace_period not in (None, 0):
            raise UsageError("--force and --grace-period greater than 0 cannot be specified together")
        return 0
    # Without --force a pod is given its last second: 0 would take it from the store before it has ended.
    grace: int | None = args.grace_period
    return 1 if grace == 0 else None if grace is not None and grace < 0 else grace


async def _all_gone(chosen: list[Chosen], args: argparse.Namespace, session: Session) -> None:
    try:
        async with asyncio.timeout(parse_duration(args.timeout) or None):
            await asyncio.gather(*(gone(one, session) for one in chosen))
    except TimeoutError:
        raise Failed(
            f"timed out after {args.timeout}: the deletion is under way, but not all objects are gone\n"
            "`kubectl-lite get ... -o jsonpath={.metadata.finalizers}` tells what holds an object."
        ) from None


async def gone(one: Chosen, session: Session) -> None:
    uid = ""
    async for type_, obj in follow(session, one.resource, one.namespace, fields=f"metadata.name={one.name}"):
        if type_ == "SYNCED" and not uid:
            return
        if type_ == "DELETED" or (uid and type_ != "SYNCED" and obj["metadata"].get("uid") != uid):
            return
        if type_ != "SYNCED":
            uid = obj["metadata"].get("uid", "-")


VERB = Verb(
    help="Delete objects by name, by selector, or by the manifests that made them.",
    usage="(-f FILE | TYPE (NAME ... | -l LABELS | --all)) [flags]",
    examples="""
# By name, by manifest, by label
kubectl-lite delete pod web-1
kubectl-lite delete -f web.yaml
kubectl-lite delete pods,services -l app=web
# All pods of a namespace, within a second each
kubectl-lite delete pods --all -n test --now
# A pod on a node that is lost for good
kubectl-lite delete pod web-1 --force
""",
    flags=_flags,
    run=run,
)
