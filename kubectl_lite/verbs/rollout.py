"""rollout: how a workload's change goes on, its history, back to an earlier state, once more, pause and resume."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from kubeapi.errors import NotFound
from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.progress import progress
from kubectl_lite.revisions import REVISION, Revision, revisions_of
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow
from kubectl_lite.writing import dry_run_of, report, writing_of

RESTARTED = "kubectl.kubernetes.io/restartedAt"
KINDS = ("Deployment", "DaemonSet", "StatefulSet")


async def _chosen(args: argparse.Namespace, session: Session) -> list[Chosen]:
    if not args.words and not args.filename:
        raise UsageError("required resource not specified: rollout takes deploy/NAME, ds/NAME or sts/NAME")
    chosen = await choose(args, session)
    for one in chosen:
        if one.resource.kind not in KINDS:
            raise UsageError(f"{one.title}: rollout is for deployments, daemonsets and statefulsets")
    if not chosen:
        raise Failed("no objects passed to rollout")
    return chosen


# ------------------------------------------------------------------ status


def _status_flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.switch("-w", "--watch", default=True, help="until it has ended; false: tell how it is now")
    flags.number("--revision", default=0, help="fail unless this is the revision that is rolled out")
    flags.value("--timeout", default="0s", help="give up after this long; 0: never", metavar="TIME")


async def _status(args: argparse.Namespace, session: Session) -> int:
    for one in await _chosen(args, session):
        try:
            async with asyncio.timeout(parse_duration(args.timeout) or None):
                await _follow(one, args, session)
        except TimeoutError:
            raise Failed(
                f"timed out waiting for the condition: {one.title} is not rolled out after {args.timeout}\n"
                f"`kubectl-lite describe {one.title}` and the events of its pods tell why."
            ) from None
    return 0


async def _follow(one: Chosen, args: argparse.Namespace, session: Session) -> None:
    said, found = "", False
    async for type_, obj in follow(session, one.resource, one.namespace, fields=f"metadata.name={one.name}"):
        if type_ == "SYNCED":
            if not found:
                raise NotFound(f'{one.resource.qualified} "{one.name}" not found')
            continue
        if type_ == "DELETED":
            raise Failed(f"object has been deleted: {one.title}")
        found = True
        done, text = progress(obj, args.revision)
        if text != said:
            session.io.say(text)
            session.io.out.flush()
            said = text
        if done or not args.watch:
            return


# ------------------------------------------------------------------ history


def _history_flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.number("--revision", default=0, help="show the pod template of this revision")
    flags.output()


async def _history(args: argparse.Namespace, session: Session) -> int:
    show = output.printer(args.output, here=session.here, managed_fields=args.show_managed_fields, given=args.template)
    for one in await _chosen(args, session):
        owner, revisions = await revisions_of(one, session)
        if args.revision:
            revision = _existing(revisions, args.revision)
            if show is not None:
                session.io.out.write(show(_as_it_was(owner, revision)))
                continue
            from kubectl_lite.describe.templates import template_lines
            from kubectl_lite.printing.tabs import align

            session.io.say(f"{one.title} with revision #{args.revision}")
            for line in align(template_lines(revision.template)):
                session.io.say(line)
            continue
        if show is not None:
            session.io.out.write(show(owner))
            continue
        session.io.say(f"{one.title} ")
        if not revisions:
            session.io.say("No rollout history found.")
            continue
        lines = ["REVISION\tCHANGE-CAUSE"]
        lines += [f"{number}\t{revisions[number].cause or '<none>'}" for number in sorted(revisions)]
        from kubectl_lite.printing.tabs import align

        for line in align(lines):
            session.io.say(line)
        session.io.say("")
    return 0


def _existing(revisions: dict[int, Revision], number: int) -> Revision:
    if number not in revisions:
        there = ", ".join(map(str, sorted(revisions))) or "none"
        raise Failed(f"unable to find specified revision {number} in history; there are: {there}")
    return revisions[number]


def _as_it_was(owner: dict[str, Any], revision: Revision) -> dict[str, Any]:
    metadata = owner["metadata"]
    annotations = {**(metadata.get("annotations") or {}), REVISION: str(revision.number)}
    spec = owner["spec"] | {"template": revision.template}
    return owner | {"metadata": metadata | {"annotations": annotations}, "spec": spec}


# ------------------------------------------------------------------ undo


def _undo_flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.number("--to-revision", default=0, help="to this one; default: the one before")
    flags.dry_run()
    flags.output()


async def _undo(args: argparse.Namespace, session: Session) -> int:
    for one in await _chosen(args, session):
        owner, revisions = await revisions_of(one, session)
        if owner["spec"].get("paused"):
            raise Failed(
                f'you cannot rollback a paused deployment; resume it first with "kubectl-lite rollout resume {one.title}"'
            )
        earlier = sorted(revisions)[:-1]
        if args.to_revision:
            wanted = _existing(revisions, args.to_revision)
        elif earlier:
            wanted = revisions[earlier[-1]]
        else:
            raise Failed(f"no rollout history found for {one.title}: there is no revision before the present one")
        if _template_of(owner) == wanted.template:
            report(
                args, session, owner, f"skipped rollback (current template already matches revision {wanted.number})"
            )
            continue
        if dry_run_of(args, session) == "client":
            report(args, session, _as_it_was(owner, wanted), "rolled back")
            continue
        obj = await session.server.patch(
            one.resource,
            one.name,
            wanted.patch,
            one.namespace,
            kind="json" if one.resource.kind == "Deployment" else "strategic",
            writing=writing_of(args, session),
        )
        report(args, session, obj, "rolled back")
    return 0


def _template_of(owner: dict[str, Any]) -> dict[str, Any]:
    template: dict[str, Any] = owner["spec"]["template"]
    metadata = template.get("metadata") or {}
    return template | {"metadata": metadata | {"labels": metadata.get("labels") or {}}}


# ------------------------------------------------------------------ restart, pause, resume


def _change_flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.dry_run()
    flags.output()


async def _restart(args: argparse.Namespace, session: Session) -> int:
    stamp = session.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    body = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
    status = 0
    for one in await _chosen(args, session):
        owner = await session.server.get(one.resource, one.name, one.namespace)
        if owner["spec"].get("paused"):
            session.io.fail(
                f'{one.resource.qualified} "{one.name}" can\'t restart paused deployment (run rollout resume first)'
            )
            status = 1
            continue
        if dry_run_of(args, session) != "client":
            owner = await session.server.patch(
                one.resource, one.name, body, one.namespace, writing=writing_of(args, session)
            )
        report(args, session, owner, "restarted")
    return status


def _pausing(pause: bool) -> Any:
    async def run(args: argparse.Namespace, session: Session) -> int:
        status = 0
        for one in await _chosen(args, session):
            if one.resource.kind != "Deployment":
                raise UsageError(f"{one.resource.qualified} {one.name} does not support pausing: only deployments do")
            owner = await session.server.get(one.resource, one.name, one.namespace)
            if bool(owner["spec"].get("paused")) == pause:
                session.io.fail(f'{one.resource.qualified} "{one.name}" is {"already" if pause else "not"} paused')
                status = 1
                continue
            if dry_run_of(args, session) != "client":
                body = {"spec": {"paused": True if pause else None}}
                owner = await session.server.patch(
                    one.resource, one.name, body, one.namespace, writing=writing_of(args, session)
                )
            report(args, session, owner, "paused" if pause else "resumed")
        return status

    return run


_WHAT = "(TYPE NAME | TYPE/NAME) [flags]"
VERB = Verb(
    help="Follow, undo, restart or pause the rollout of a deployment, daemonset or statefulset.",
    usage="COMMAND (TYPE NAME | TYPE/NAME) [flags]",
    examples="""
# Until it is rolled out; exit code 1 when it fails
kubectl-lite rollout status deploy/web
# Back to the state before
kubectl-lite rollout undo deploy/web
# New pods of the same kind
kubectl-lite rollout restart deploy/web
""",
    sub={
        "status": Verb(
            "Tell how a rollout goes on, until it has ended.",
            _WHAT,
            "kubectl-lite rollout status deploy/web --timeout=2m",
            _status_flags,
            _status,
        ),
        "history": Verb(
            "List the earlier states of a workload.",
            _WHAT,
            "kubectl-lite rollout history deploy/web\nkubectl-lite rollout history deploy/web --revision=3",
            _history_flags,
            _history,
        ),
        "undo": Verb(
            "Go back to an earlier state.",
            _WHAT,
            "kubectl-lite rollout undo deploy/web\nkubectl-lite rollout undo deploy/web --to-revision=3",
            _undo_flags,
            _undo,
        ),
        "restart": Verb(
            "Replace all pods by new ones, step by step.",
            _WHAT,
            "kubectl-lite rollout restart deploy/web",
            _change_flags,
            _restart,
        ),
        "pause": Verb(
            "Let changes of a deployment gather until it is resumed.",
            _WHAT,
            "kubectl-lite rollout pause deploy/web",
            _change_flags,
            _pausing(True),
        ),
        "resume": Verb(
            "Roll out what has changed since the pause.",
            _WHAT,
            "kubectl-lite rollout resume deploy/web",
            _change_flags,
            _pausing(False),
        ),
    },
)
