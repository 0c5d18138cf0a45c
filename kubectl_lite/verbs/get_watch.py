"""get -w: the table, then a row for every change."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from kubeapi.errors import NotFound
from kubectl_lite import output
from kubectl_lite.errors import UsageError
from kubectl_lite.names import Target
from kubectl_lite.session import Session
from kubectl_lite.tabs import align
from kubectl_lite.verbs.get import rows_of
from kubectl_lite.watching import follow


async def watch(args: argparse.Namespace, session: Session, targets: Sequence[Target]) -> int:
    """Ends only with the process. The server makes the row of what an object is now; of a deleted one we keep the last."""
    if len(targets) != 1:
        raise UsageError("you may only specify a single resource type (and at most one name) with -w")
    target = targets[0]
    fields = args.field_selector or (f"metadata.name={target.name}" if target.name else "")
    show = output.printer(args.output, here=session.here, managed_fields=args.show_managed_fields, headers=False)
    if target.name:
        await session.server.get(target.resource, target.name, session.namespace_of(target.resource))
    printed = _Printed(args, session, target)
    events = follow(
        session, target.resource, session.namespace_of(target.resource), labels=args.selector, fields=fields
    )
    first: list[dict[str, Any]] | None = []
    async for type_, obj in events:
        if first is not None:
            if type_ != "SYNCED":
                first.append(obj)
                continue
            if not args.watch_only:
                if show is not None:
                    session.io.out.write("".join(show(one) for one in first))
                else:
                    await printed.all(first)
            first = None
        elif show is not None:
            session.io.out.write(show(obj))
        else:
            await printed.one(type_, obj)
        session.io.out.flush()
    return 0


class _Printed:
    """Widths are kept from row to row, so that later rows stand under the header."""

    def __init__(self, args: argparse.Namespace, session: Session, target: Target) -> None:
        self._args, self._session, self._resource = args, session, target.resource
        self._widths: list[int] = []
        self._last: dict[tuple[str, str], list[str]] = {}
        self._header = not args.no_headers

    async def all(self, objects: list[dict[str, Any]]) -> None:
        lines = []
        for obj in objects:
            row = await self._row(obj)
            if row is not None:
                lines.append(row)
        self._print(lines)

    async def one(self, type_: str, obj: dict[str, Any]) -> None:
        key = _key(obj)
        row = self._last.pop(key, None) if type_ == "DELETED" else await self._row(obj)
        if row is not None:
            self._print([row])

    async def _row(self, obj: dict[str, Any]) -> list[str] | None:
        metadata = obj["metadata"]
        try:
            found = await rows_of(
                self._args,
                self._session,
                self._resource,
                metadata["name"],
                prefix=self._args.show_kind,
                namespace=metadata.get("namespace", ""),
            )
        except NotFound:
            return self._last.get(_key(obj))
        self._titles = found.header
        self._last[_key(obj)] = found.rows[0]
        return found.rows[0]

    def _print(self, rows: list[list[str]]) -> None:
        if not rows:
            return
        lines = ([self._titles] if self._header else []) + rows
        self._header = False
        if not self._widths:
            self._widths = [0] * len(lines[0])
        for line in lines:
            self._widths = [max(w, len(c), 3) for w, c in zip(self._widths, line, strict=True)]
        ruler = "\t".join("x" * w for w in self._widths)
        for text in align([ruler, *("\t".join(line) for line in lines)], least=6, gap=3)[1:]:
            self._session.io.say(text)


def _key(obj: dict[str, Any]) -> tuple[str, str]:
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
