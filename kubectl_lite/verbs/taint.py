"""taint: KEY=VALUE:EFFECT sets, KEY:EFFECT- or KEY- removes."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite.choosing import choose
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import dry_run_of, report, writing_of

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
Taint = dict[str, Any]


def _flags(flags: Flags) -> None:
    flags.value("-l", "--selector", help="nodes with these labels", metavar="LABELS")
    flags.switch("--all", help="all nodes")
    flags.switch("--overwrite", help="also where the node has another value")
    flags.dry_run()
    flags.output()


def parse(words: list[str]) -> tuple[list[Taint], list[tuple[str, str]]]:
    """(to set, to remove as key and effect: "" is every effect). Raises UsageError."""
    wanted, unwanted = [], []
    for word in words:
        front, colon, effect = word.removesuffix("-").partition(":")
        key, eq, value = front.partition("=")
        if colon and effect not in EFFECTS:
            raise UsageError(f"invalid taint effect: {effect}, unsupported taint effect; use {', '.join(EFFECTS)}")
        if word.endswith("-"):
            unwanted.append((key, effect))
        elif not colon:
            raise UsageError(f"invalid taint spec: {word}; write KEY=VALUE:EFFECT, or KEY- to remove")
        else:
            wanted.append({"key": key, **({"value": value} if eq else {}), "effect": effect})
    return wanted, unwanted


def changed(have: list[Taint], wanted: list[Taint], unwanted: list[tuple[str, str]], *, overwrite: bool) -> list[Taint]:
    """Pure. Raises Failed."""
    for key, effect in unwanted:
        if not any(t["key"] == key and effect in ("", t["effect"]) for t in have):
            raise Failed(f'taint "{key}{":" + effect if effect else ""}" not found')
    kept = [t for t in have if not any(t["key"] == k and e in ("", t["effect"]) for k, e in unwanted)]
    for taint in wanted:
        same = [t for t in kept if (t["key"], t["effect"]) == (taint["key"], taint["effect"])]
        if same and not overwrite:
            raise Failed("already has a taint(s) with same effect(s) and --overwrite is false")
        kept = [t for t in kept if t not in same]
    return [*wanted, *kept]


async def run(args: argparse.Namespace, session: Session) -> int:
    at = next((i for i, w in enumerate(args.words) if i and ("=" in w or ":" in w or w.endswith("-"))), len(args.words))
    wanted, unwanted = parse(args.words[at:])
    if not (wanted or unwanted):
        raise UsageError("at least one taint update is required: taint nodes n1 KEY=VALUE:NoSchedule")
    for one in await choose(args, session, args.words[:at]):
        if one.resource.kind != "Node":
            raise UsageError(f"invalid resource type {one.resource.plural}, only node types are supported")
        obj = await session.server.get(one.resource, one.name)
        have = obj["spec"].get("taints") or []
        try:
            taints = changed(have, wanted, unwanted, overwrite=args.overwrite)
        except Failed as error:
            raise Failed(f"node {one.name} {error}" if str(error).startswith("already") else str(error)) from error
        if dry_run_of(args, session) != "client":
            patch = {
                "metadata": {"resourceVersion": obj["metadata"]["resourceVersion"]},
                "spec": {"taints": taints or None},
            }
            obj = await session.server.patch(one.resource, one.name, patch, writing=writing_of(args, session))
        again = any((t["key"], t["effect"]) == (o["key"], o["effect"]) for t in wanted for o in have)
        outcome = "modified" if wanted and (unwanted or again) else "tainted" if wanted else "untainted"
        report(args, session, obj, outcome)
    return 0


VERB = Verb(
    help="Set or remove the taints of nodes.",
    usage="nodes NAME ... KEY=VALUE:EFFECT ... KEY[:EFFECT]- ... [flags]",
    examples="kubectl-lite taint nodes n1 disk=slow:NoSchedule\nkubectl-lite taint nodes n1 disk-",
    flags=_flags,
    run=run,
)
