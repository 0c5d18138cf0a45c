"""get -w: what there is, then every change: rows made by the server, or whole objects in the form of -o."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Sequence
from typing import Any

from kubeapi.errors import Expired
from kubectl_lite.errors import UsageError
from kubectl_lite.names import Target
from kubectl_lite.printing import output
from kubectl_lite.printing.tabs import align
from kubectl_lite.session import Session
from kubectl_lite.verbs.get import chosen_columns
from kubectl_lite.watching import follow

Key = tuple[str, str]


async def watch(args: argparse.Namespace, session: Session, targets: Sequence[Target]) -> int:
    """Ends only with the process."""
    if len(targets) != 1:
        raise UsageError("you may only specify a single resource type (and at most one name) with -w")
    target = targets[0]
    fields = args.field_selector or (f"metadata.name={target.name}" if target.name else "")
    if target.name:
        await session.server.get(target.resource, target.name, session.namespace_of(target.resource))
    show = output.printer(
        args.output, here=session.here, managed_fields=args.show_managed_fields, headers=False, given=args.template
    )
    if show is not None:
        await _objects(args, session, target, fields, show)
    else:
        await _rows(args, session, target, fields)
    return 0


async def _objects(
    args: argparse.Namespace, session: Session, target: Target, fields: str, show: output.Printer
) -> None:
    synced, printed = False, 0
    where = session.namespace_of(target.resource)
    async for type_, obj in follow(session, target.resource, where, labels=args.selector, fields=fields):
        if type_ == "SYNCED":
            synced = True
        elif synced or not args.watch_only:
            shown = {"object": obj, "type": type_} if args.output_watch_events else obj
            session.io.out.write("---\n" * (printed > 0 and args.output == "yaml") + show(shown))
            printed += 1
        session.io.out.flush()


async def _rows(args: argparse.Namespace, session: Session, target: Target, fields: str) -> None:
    """A column is as wide as its widest cell so far, so that later rows stand under the header."""
    ruler: list[int] = []
    header = not args.no_headers
    async for types, table in tables(args, session, target, fields):
        found = chosen_columns(args, table, target.resource, prefix=args.show_kind, everywhere=session.all_namespaces)
        lines = ([found.header] if header else []) + found.rows
        if args.output_watch_events:
            lines = [
                [word.ljust(len("MODIFIED")), *line]
                for word, line in zip((["EVENT"] if header else []) + list(types), lines, strict=True)
            ]
        if not found.rows:
            continue
        header = False
        ruler = ruler or [0] * len(lines[0])
        for line in lines:
            ruler = [max(width, len(cell)) for width, cell in zip(ruler, line, strict=True)]
        for text in align(["\t".join("x" * width for width in ruler), *map("\t".join, lines)], least=6, gap=3)[1:]:
            session.io.say(text)
        session.io.out.flush()


async def tables(
    args: argparse.Namespace, session: Session, target: Target, fields: str
) -> AsyncIterator[tuple[Sequence[str], dict[str, Any]]]:
    """First the whole table, then one of one row for each change, all with columns; beside each the events' types.

    When the server has forgotten where we were, it is listed again, and what has changed meanwhile comes as one table.
    """
    server, resource, where = session.server, target.resource, session.namespace_of(target.resource)
    include = "Object" if args.sort_by else "Metadata"
    known: dict[Key, dict[str, Any]] = {}
    columns: list[dict[str, Any]] = []
    again = False
    while True:
        table = await server.table(resource, where, labels=args.selector, fields=fields, include=include)
        columns, version = table["columnDefinitions"], int(table["metadata"]["resourceVersion"])
        now = {_key(row): row for row in table.get("rows") or []}
        changes = list(_changes(known, now))
        known = now
        if again or not args.watch_only:
            yield [type_ for type_, _ in changes], {"columnDefinitions": columns, "rows": [row for _, row in changes]}
        again = True
        try:
            while True:
                events = server.watch_table(
                    resource, where, version, labels=args.selector, fields=fields, include=include
                )
                async for type_, part, at in events:
                    version = at
                    for row in part.get("rows") or []:
                        if type_ == "DELETED":
                            known.pop(_key(row), None)
                        else:
                            known[_key(row)] = row
                    changed = part.get("rows") or []
                    yield [type_] * len(changed), {"columnDefinitions": columns, "rows": changed}
        except Expired:
            continue


def _changes(known: dict[Key, dict[str, Any]], now: dict[Key, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    gone = [("DELETED", row) for key, row in known.items() if key not in now]
    return gone + [
        ("MODIFIED" if key in known else "ADDED", row)
        for key, row in now.items()
        if key not in known or _version(known[key]) != _version(row)
    ]


def _version(row: dict[str, Any]) -> str:
    return str(row["object"]["metadata"].get("resourceVersion", ""))


def _key(row: dict[str, Any]) -> Key:
    metadata = row["object"]["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
