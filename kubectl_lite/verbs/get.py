"""get: tables made by the server, or whole objects in the form of -o; -w goes on with every change."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kubeapi.errors import NotFound
from kubeapi.scheme import Resource
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.names import Target, qualified_kind
from kubectl_lite.printing import output
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.output(wide=True)
    flags.selector(everything=False)
    flags.everywhere()
    flags.files()
    flags.switch("-w", "--watch", help="go on and show every change")
    flags.switch("--watch-only", help="show the changes only")
    flags.switch("--output-watch-events", help="with -w: tell what each change is: ADDED, MODIFIED, DELETED")
    flags.value("--sort-by", help="a JSONPath: .metadata.creationTimestamp", metavar="PATH")
    flags.switch("--show-labels", help="a column of labels")
    flags.many("-L", "--label-columns", help="a column for this label (repeatable)", metavar="LABEL")
    flags.switch("--show-kind", help="the kind in front of each name")
    flags.switch("--no-headers", help="rows only")
    flags.switch("--ignore-not-found", help="exit with 0 when the object is not there")
    flags.value("--raw", help="what the server sends for this path: /readyz?verbose, /metrics", metavar="PATH")
    flags.number("--chunk-size", help=argparse.SUPPRESS)


@dataclass(slots=True)
class Rows:
    """One resource's table: the columns chosen, the rows as text."""

    header: list[str]
    keep: list[int]
    """Indices into the server's cells."""
    rows: list[list[str]]
    objects: list[dict[str, Any]]


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.raw:
        return await _raw(args, session)
    targets = await _targets(args, session)
    if args.watch or args.watch_only:
        from kubectl_lite.verbs.get_watch import watch

        return await watch(args, session, targets)
    show = output.printer(
        args.output,
        here=session.here,
        managed_fields=args.show_managed_fields,
        headers=not args.no_headers,
        given=args.template,
    )
    if show is not None:
        return await _objects(args, session, targets, show)
    return await _tables(args, session, targets)


async def _raw(args: argparse.Namespace, session: Session) -> int:
    import asyncio

    if args.words or args.output:
        raise UsageError("--raw takes no names and no -o: it prints what the server sends")
    if session.raw is None:
        raise UsageError("--raw speaks HTTP, and no HTTP door is known here")
    session.io.write_bytes(await asyncio.to_thread(session.raw, args.raw))
    return 0


async def _targets(args: argparse.Namespace, session: Session) -> list[Target]:
    if args.filename or args.kustomize:
        from kubectl_lite.manifests import read

        return [Target(m.resource, m.name) for m in await read(args, session)]
    if not args.words:
        raise UsageError(
            "You must specify the type of resource to get, for example `get pods` or `get deploy/web`.\n"
            "`kubectl-lite api-resources` lists the types."
        )
    targets = await session.names.targets(args.words)
    if any(t.name for t in targets):
        if args.selector or args.field_selector:
            raise UsageError("name cannot be provided when a selector is specified")
        if args.all_namespaces and any(t.resource.namespaced for t in targets):
            raise UsageError("a resource cannot be retrieved by name across all namespaces")
    return targets


async def _objects(args: argparse.Namespace, session: Session, targets: Sequence[Target], show: output.Printer) -> int:
    objects: list[dict[str, Any]] = []
    status = 0
    for target in targets:
        where = session.namespace_of(target.resource)
        if target.name:
            try:
                objects.append(await session.server.get(target.resource, target.name, where))
            except NotFound as error:
                status = max(status, _missing(error, args, session))
        else:
            found, _ = await session.server.list(
                target.resource, where, labels=args.selector, fields=args.field_selector
            )
            objects += found
    if args.sort_by:
        objects = _sorted(objects, objects, args.sort_by)
    single = len(targets) == 1 and bool(targets[0].name)
    if single and objects:
        session.io.out.write(show(objects[0]))
    elif not single and (objects or not any(t.name for t in targets)):
        session.io.out.write(show(output.list_of(objects)))
    return status


def _missing(error: NotFound, args: argparse.Namespace, session: Session) -> int:
    if args.ignore_not_found:
        return 0
    session.io.tell(f"Error from server (NotFound): {error}")
    return 1


async def _tables(args: argparse.Namespace, session: Session, targets: Sequence[Target]) -> int:
    shown = status = 0
    by_resource: dict[Resource, list[str]] = {}
    for target in targets:
        by_resource.setdefault(target.resource, []).append(target.name)
    prefix = args.show_kind or len(by_resource) > 1
    for resource, names in by_resource.items():
        parts = []
        for name in names:
            try:
                parts.append(await rows_of(args, session, resource, name, prefix=prefix))
            except NotFound as error:
                status = max(status, _missing(error, args, session))
        rows = [row for part in parts for row in part.rows]
        if not rows:
            continue
        if args.sort_by:
            rows = _sorted(rows, [obj for part in parts for obj in part.objects], args.sort_by)
        if shown:
            session.io.say("")
        output.columns(parts[0].header, rows, session.io, show_header=not args.no_headers)
        shown += len(rows)
    if not shown and not status and not any(t.name for t in targets):
        scope = "" if session.all_namespaces or not targets[0].resource.namespaced else session.namespace
        session.io.tell(f"No resources found in {scope} namespace." if scope else "No resources found")
    return status


async def rows_of(
    args: argparse.Namespace, session: Session, resource: Resource, name: str, *, prefix: bool, namespace: str = ""
) -> Rows:
    """Raises NotFound for a name that is not there."""
    table = await session.server.table(
        resource,
        namespace or session.namespace_of(resource),
        name,
        labels=args.selector,
        fields=args.field_selector,
        include="Object" if args.sort_by else "Metadata",
    )
    return chosen_columns(args, table, resource, prefix=prefix, everywhere=session.all_namespaces)


def chosen_columns(
    args: argparse.Namespace, table: dict[str, Any], resource: Resource, *, prefix: bool, everywhere: bool
) -> Rows:
    definitions = table["columnDefinitions"]
    keep = [i for i, c in enumerate(definitions) if args.output == "wide" or not c.get("priority")]
    header = [definitions[i]["name"].upper() for i in keep]
    labels = [label for given in args.label_columns for label in given.split(",")]
    with_namespace = everywhere and resource.namespaced
    made = Rows(
        [
            *(["NAMESPACE"] if with_namespace else []),
            *header,
            *(["LABELS"] if args.show_labels else []),
            *(label.rpartition("/")[2].upper() for label in labels),
        ],
        keep,
        [],
        [],
    )
    kind = f"{qualified_kind(resource)}/" if prefix else ""
    for row in table.get("rows") or []:
        cells = row["cells"]
        line = [cell_text(cells[i]) for i in keep]
        metadata = row["object"]["metadata"]
        if prefix:
            # The cell, not the name: a storage class says there that it is the default.
            at = 0 if definitions[keep[0]]["name"] == "Name" else -1
            line[at] = kind + (line[0] if at == 0 else metadata["name"])
        if with_namespace:
            line.insert(0, metadata.get("namespace", ""))
        if args.show_labels:
            pairs = sorted((metadata.get("labels") or {}).items())
            line.append(",".join(f"{k}={v}" for k, v in pairs) or "<none>")
        line += [(metadata.get("labels") or {}).get(label, "") for label in labels]
        made.rows.append(line)
        made.objects.append(row["object"])
    return made


def cell_text(value: Any) -> str:
    if value is None:
        return "<none>"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _sorted(values: list[Any], objects: Sequence[dict[str, Any]], path: str) -> list[Any]:
    """Values in the order of what the path finds in their objects; objects without it come first."""
    from kubectl_lite.printing import jsonpath

    try:
        template = jsonpath.parse(jsonpath.relaxed(path))
    except jsonpath.JsonPathError as error:
        raise UsageError(f"--sort-by: {error}") from error
    found = [next(iter(template.results(obj)), None) for obj in objects]
    if objects and all(value is None for value in found):
        raise UsageError(f"couldn't find any field with path {jsonpath.relaxed(path)!r} in the list of objects")
    if all(value is None or (isinstance(value, str) and _QUANTITY.fullmatch(value)) for value in found):
        from kubeapi.quantity import parse

        found = [None if value is None else float(parse(value)) for value in found]
    order = sorted(range(len(values)), key=lambda i: _rank(found[i]))
    return [values[i] for i in order]


_QUANTITY = re.compile(r"[+-]?\d+(\.\d+)?([numkMGTPE]|[KMGTPE]i)?")


def _rank(value: Any) -> tuple[int, float, list[tuple[int, int | str]]]:
    """Numbers by size; text in natural order, so that web-10 comes after web-9."""
    if value is None:
        return (0, 0.0, [])
    if isinstance(value, int | float):
        return (1, float(value), [])
    text = str(value)
    pieces: list[tuple[int, int | str]] = [
        (0, int(piece)) if piece.isdigit() else (1, piece) for piece in re.split(r"(\d+)", text) if piece
    ]
    return (2, 0.0, pieces)


VERB = Verb(
    help="Show one or many objects.",
    usage="(TYPE[,TYPE] [NAME ...] | TYPE/NAME ...) [flags]",
    examples="""
# All pods of the namespace, and with more columns
kubectl-lite get pods
kubectl-lite get pods -o wide
# Several types; everything that is usually of interest
kubectl-lite get deploy,svc
kubectl-lite get all -A
# One object whole; one field of many objects
kubectl-lite get deploy/web -o yaml
kubectl-lite get pods -l app=web -o jsonpath='{range .items[*]}{.metadata.name}{"\\t"}{.status.podIP}{"\\n"}{end}'
# Own columns, own order
kubectl-lite get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName --sort-by=.spec.nodeName
# Go on and show every change
kubectl-lite get pods -w
""",
    flags=_flags,
    run=run,
)
