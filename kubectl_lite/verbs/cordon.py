"""cordon, uncordon: whether new pods may come to a node."""

from __future__ import annotations

import argparse

from kubectl_lite.choosing import Chosen, of_target
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.names import Target
from kubectl_lite.session import Session
from kubectl_lite.verb import Run, Verb
from kubectl_lite.writing import dry_run_of, writing_of


def _flags(flags: Flags) -> None:
    flags.value("-l", "--selector", help="all nodes with these labels", metavar="LABELS")
    flags.dry_run()


async def nodes(args: argparse.Namespace, session: Session) -> list[Chosen]:
    """Of `NODE ...`, `node/NODE ...` or -l."""
    if bool(args.words) == bool(args.selector):
        raise UsageError("name the nodes, or give -l LABELS")
    resource = await session.names.find("nodes")
    if args.selector:
        return await of_target(Target(resource), args, session)
    return [Chosen(resource, word.rpartition("/")[2], "") for word in args.words]


async def mark(one: Chosen, wanted: bool, args: argparse.Namespace, session: Session) -> None:
    node = await session.server.get(one.resource, one.name)
    word = "cordoned" if wanted else "uncordoned"
    note = {"client": " (dry run)", "server": " (server dry run)"}.get(dry_run_of(args, session), "")
    if bool(node.get("spec", {}).get("unschedulable")) == wanted:
        session.io.say(f"node/{one.name} already {word}{note}")
        return
    if dry_run_of(args, session) != "client":
        patch = {"spec": {"unschedulable": True if wanted else None}}
        await session.server.patch(one.resource, one.name, patch, writing=writing_of(args, session))
    session.io.say(f"node/{one.name} {word}{note}")


def _marking(wanted: bool) -> Run:
    async def run(args: argparse.Namespace, session: Session) -> int:
        for one in await nodes(args, session):
            await mark(one, wanted, args, session)
        return 0

    return run


VERBS = {
    "cordon": Verb(
        "Mark nodes as unschedulable: no new pods come.", "NODE ...", "kubectl-lite cordon n1", _flags, _marking(True)
    ),
    "uncordon": Verb("Mark nodes as schedulable.", "NODE ...", "kubectl-lite uncordon n1", _flags, _marking(False)),
}
