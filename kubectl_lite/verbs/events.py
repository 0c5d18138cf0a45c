"""events: what happened, oldest first; -w goes on."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite.describe.lines import event_age, event_time
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow


def _flags(flags: Flags) -> None:
    flags.everywhere()
    flags.value("--for", help="only of this object: TYPE/NAME", metavar="OBJECT")
    flags.value("--types", help="Normal or Warning, or both with a comma", metavar="TYPES")
    flags.switch("-w", "--watch", help="go on and show what happens")
    flags.switch("--no-headers", help="rows only")
    flags.output()


async def run(args: argparse.Namespace, session: Session) -> int:
    resource = await session.names.find("events")
    fields = ""
    if about := getattr(args, "for"):
        target = (await session.names.targets([about]))[0]
        fields = f"involvedObject.name={target.name},involvedObject.kind={target.resource.kind}"
    types = {word.lower() for word in args.types.split(",") if word}
    show = output.printer(args.output, here=session.here, managed_fields=args.show_managed_fields, given=args.template)
    where = session.namespace_of(resource)
    header = [*(["NAMESPACE"] if args.all_namespaces else []), "LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]

    def rows(found: list[dict[str, Any]]) -> list[list[str]]:
        return [_row(e, args.all_namespaces, session) for e in found]

    first: list[dict[str, Any]] = []
    synced = False
    async for type_, obj in follow(session, resource, where, fields=fields):
        if type_ == "SYNCED":
            first = sorted((e for e in first if not types or e.get("type", "").lower() in types), key=event_time)
            if show is not None:
                session.io.out.write(show(output.list_of(first)))
            elif first:
                output.columns(header, rows(first), session.io, show_header=not args.no_headers)
            elif not args.watch:
                session.io.tell(f"No events found in {session.namespace} namespace." if where else "No events found.")
            if not args.watch:
                return 0
            synced = True
        elif not synced:
            first.append(obj)
        elif type_ != "DELETED" and (not types or obj.get("type", "").lower() in types):
            if show is not None:
                session.io.out.write(show(obj))
            else:
                output.columns(header, rows([obj]), session.io, show_header=False)
            session.io.out.flush()
    return 0


def _row(event: dict[str, Any], namespaced: bool, session: Session) -> list[str]:
    about = event.get("involvedObject", {})
    return [
        *([event["metadata"].get("namespace", "")] if namespaced else []),
        event_age(event, session.now()),
        event.get("type", ""),
        event.get("reason", ""),
        f"{about.get('kind', '')}/{about.get('name', '')}",
        event.get("message", "").strip(),
    ]


VERB = Verb(
    help="Show what happened, in order of time.",
    usage="[flags]",
    examples="kubectl-lite events\nkubectl-lite events --for pod/web-1 -w\nkubectl-lite events --types=Warning -A",
    flags=_flags,
    run=run,
)
