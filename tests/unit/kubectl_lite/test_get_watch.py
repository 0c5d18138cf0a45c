"""get -w across the end of the server's memory: nothing is lost, nothing is told twice."""

import asyncio
from argparse import Namespace
from collections.abc import AsyncIterator
from typing import Any

from kubeapi.errors import Expired
from kubeapi.scheme import SCHEME
from kubectl_lite.names import Target
from kubectl_lite.verbs.get_watch import tables

COLUMNS = [{"name": "Name", "type": "string"}]
Event = tuple[str, dict[str, Any], int]


def row(name: str, version: int) -> dict[str, Any]:
    return {"cells": [name], "object": {"metadata": {"name": name, "namespace": "d", "resourceVersion": str(version)}}}


def table(version: int, *rows: dict[str, Any]) -> dict[str, Any]:
    return {"columnDefinitions": COLUMNS, "rows": list(rows), "metadata": {"resourceVersion": str(version)}}


class Remembering:
    """A server that tells the tables one after the other, and between them events until it has forgotten."""

    def __init__(self, listed: list[dict[str, Any]], watched: list[list[Event]]) -> None:
        self.listed, self.watched = listed, watched
        self.asked: list[int] = []

    async def table(self, *args: object, **named: object) -> dict[str, Any]:
        return self.listed.pop(0)

    async def watch_table(self, resource: object, where: str, version: int, **named: object) -> AsyncIterator[Event]:
        self.asked.append(version)
        if not self.watched:
            await asyncio.Event().wait()
        for event in self.watched.pop(0):
            yield event
        raise Expired("too old")


class Session:
    def __init__(self, server: Remembering) -> None:
        self.server = server

    def namespace_of(self, resource: object) -> str:
        return "d"


async def told(server: Remembering, count: int, **flags: bool) -> list[list[tuple[str, str]]]:
    pods = SCHEME.by_plural("", "v1", "pods")
    assert pods is not None
    args = Namespace(sort_by="", selector="", watch_only=False, **flags)
    found = []
    async for types, part in tables(args, Session(server), Target(pods), ""):  # type: ignore[arg-type]
        found.append([(type_, one["cells"][0]) for type_, one in zip(types, part["rows"], strict=True)])
        if len(found) == count:
            break
    return found


async def test_what_happened_meanwhile_comes_as_one_table() -> None:
    watched: list[list[Event]] = [[("MODIFIED", table(0, row("a", 6)), 6)]]
    server = Remembering(
        [table(5, row("a", 1), row("b", 2), row("c", 3)), table(20, row("a", 6), row("b", 12), row("d", 15))], watched
    )
    assert await told(server, 3) == [
        [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")],
        [("MODIFIED", "a")],
        [("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "d")],
    ]
    assert server.asked == [5]


async def test_a_deleted_one_that_comes_back_is_new() -> None:
    watched: list[list[Event]] = [[("DELETED", table(0, row("a", 6)), 6)]]
    server = Remembering([table(5, row("a", 1)), table(20, row("a", 9))], watched)
    assert await told(server, 3) == [[("ADDED", "a")], [("DELETED", "a")], [("ADDED", "a")]]
