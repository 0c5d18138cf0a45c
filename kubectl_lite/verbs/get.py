"""get: tables made by the server, or whole objects with -o; -w follows the changes."""

from __future__ import annotations

import argparse
from typing import Any

from kubeapi import codec
from kubectl_lite import output
from kubectl_lite.names import Target, UsageError, parse_targets
from kubectl_lite.session import Session

HELP = "show objects"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="TYPE[/NAME]", help="pods, deploy/web, po,svc, all")
    parser.add_argument("-o", "--output", choices=["wide", "json", "yaml", "name"], default="")
    parser.add_argument("-l", "--selector", default="", help="label selector, e.g. app=web,tier!=db")
    parser.add_argument("--field-selector", default="", help="e.g. status.phase=Running")
    parser.add_argument("-w", "--watch", action="store_true", help="go on and show every change")
    parser.add_argument("--no-headers", action="store_true")


async def run(args: argparse.Namespace, session: Session) -> int:
    targets = parse_targets(args.what)
    if args.watch:
        if len(targets) != 1:
            raise UsageError("-w takes one resource type")
        return await _watch(args, session, targets[0])
    if args.output in ("json", "yaml", "name"):
        return await _objects(args, session, targets)
    return await _tables(args, session, targets)


async def _objects(args: argparse.Namespace, session: Session, targets: list[Target]) -> int:
    objects: list[dict[str, Any]] = []
    for target in targets:
        where = session.namespace_of(target.resource)
        if target.name:
            objects.append(codec.to_builtins(await session.server.get(target.resource.type, target.name, where)))
        else:
            listing = await session.server.list(
                target.resource.type, where, label_selector=args.selector, field_selector=args.field_selector
            )
            objects += [codec.to_builtins(item) for item in listing.items]
    output.print_objects(objects, args.output, session.io, single=len(targets) == 1 and bool(targets[0].name))
    return 0


async def _tables(args: argparse.Namespace, session: Session, targets: list[Target]) -> int:
    shown = 0
    several = len({t.resource.plural for t in targets}) > 1
    for resource, names in _by_resource(targets).items():
        rows, header = [], []
        for name in names:
            table = await session.server.table(
                resource,
                session.namespace_of(resource),
                name,
                label_selector=args.selector,
                field_selector=args.field_selector,
            )
            header = [c for c in table["columnDefinitions"] if args.output == "wide" or not c.get("priority")]
            keep = [table["columnDefinitions"].index(c) for c in header]
            for row in table.get("rows") or []:
                cells = [_cell(row["cells"][i]) for i in keep]
                if several:
                    cells[0] = f"{resource.kind.lower()}{'.' + resource.group if resource.group else ''}/{cells[0]}"
                if session.all_namespaces and resource.namespaced:
                    cells.insert(0, row["object"]["metadata"].get("namespace", ""))
                rows.append(cells)
        if not rows:
            continue
        if shown:
            session.io.say("")
        names_line = [c["name"].upper() for c in header]
        if session.all_namespaces and resource.namespaced:
            names_line.insert(0, "NAMESPACE")
        output.columns(names_line, rows, session.io, show_header=not args.no_headers)
        shown += len(rows)
    if not shown:
        scope = f" in {session.namespace} namespace" if not session.all_namespaces else ""
        print(f"No resources found{scope}.", file=session.io.err)
    return 0


def _by_resource(targets: list[Target]) -> dict[Any, list[str]]:
    grouped: dict[Any, list[str]] = {}
    for target in targets:
        grouped.setdefault(target.resource, []).append(target.name)
    return grouped


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    return str(value).lower() if isinstance(value, bool) else str(value)


async def _watch(args: argparse.Namespace, session: Session, target: Target) -> int:
    """One line an event; the table's row is asked for anew, so that it shows what `get` shows."""
    where = session.namespace_of(target.resource)
    field = args.field_selector or (f"metadata.name={target.name}" if target.name else "")
    listing = await session.server.list(target.resource.type, where, label_selector=args.selector, field_selector=field)
    await _tables(args, session, [target])
    args.no_headers = True
    async for events in session.server.watch(
        target.resource.type,
        where,
        resource_version=listing.resource_version,
        label_selector=args.selector,
        field_selector=field,
    ):
        for event in events:
            if event.type == "BOOKMARK":
                continue
            obj = codec.to_builtins(event.object)
            name = obj["metadata"]["name"]
            if event.type == "DELETED":
                session.io.say(f"{name}   deleted")
            elif args.output in ("json", "yaml", "name"):
                output.print_objects([obj], args.output, session.io, single=True)
            else:
                await _tables(args, session, [Target(target.resource, name)])
    return 0
