"""Watches over HTTP: one JSON line an event, its bytes made once and shared by all watchers of the object.

Watch ──tells──► _Stream._flush ──► take ──► lines, each an HTTP chunk ──► one write to the connection
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.encode import include_of, partial, protobuf
from controlplane.apiserver.doors.http_messages import Outlet, Reply, chunk
from controlplane.apiserver.doors.negotiate import Form
from controlplane.apiserver.doors.request_info import RequestInfo
from controlplane.apiserver.items import ApiEvent, Item
from controlplane.apiserver.tables.table import make_table
from controlplane.apiserver.watch import BOOKMARK_EVERY, Watch
from kubeapi import codec, codec_protobuf
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, Expired, Invalid
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

LONGEST = 3600.0
"""Seconds, for a watcher that names no timeout of its own."""
INITIAL_END = "k8s.io/initial-events-end"


async def watch_reply(
    calls: Calls,
    ctx: RequestContext,
    resource: Resource,
    namespace: str,
    info: RequestInfo,
    form: Form,
    clock: Clock,
) -> Reply:
    initial = info.flag("sendInitialEvents")
    if info.one("resourceVersionMatch") and "sendInitialEvents" not in info.query:
        raise Invalid("resourceVersionMatch: Forbidden: is forbidden for watch unless sendInitialEvents is provided")
    if "sendInitialEvents" in info.query and info.one("resourceVersionMatch") != "NotOlderThan":
        raise Invalid("resourceVersionMatch: Forbidden: sendInitialEvents requires NotOlderThan")
    fields = info.one("fieldSelector")
    if info.name:
        fields = f"{fields},metadata.name={info.name}" if fields else f"metadata.name={info.name}"
    timeout = info.number("timeoutSeconds")
    lines = _Lines(resource, form, info.one("includeObject"), clock)
    seconds = float(timeout) if timeout else LONGEST
    stream: _Stream | _Refused
    try:
        watch = await calls.api.open_watch(
            resource,
            namespace,
            label_selector=info.one("labelSelector"),
            field_selector=fields,
            resource_version=info.one("resourceVersion"),
            send_initial_events=initial if "sendInitialEvents" in info.query else None,
        )
    except Expired as error:  # a watch too old is told so within the stream, as Kubernetes does
        stream = _Refused(lines.error(error))
    else:
        stream = _Stream(watch, lines, BOOKMARK_EVERY if info.flag("allowWatchBookmarks") else None, seconds)
    return Reply(200, [("Content-Type", form.content_type)], push=stream.run)


class _Refused:
    def __init__(self, chunk: bytes) -> None:
        self._chunk = chunk

    async def run(self, out: Outlet) -> None:
        out.write(self._chunk)


class _Stream:
    """Writes events to one connection when the cache tells that there are some, without a task's turn for each."""

    def __init__(self, watch: Watch, lines: _Lines, bookmarks: float | None, seconds: float) -> None:
        self._watch, self._lines, self._bookmarks, self._seconds = watch, lines, bookmarks, seconds

    async def run(self, out: Outlet) -> None:
        loop = asyncio.get_running_loop()
        self._out, self._ended = out, loop.create_future()
        self._deadline, self._wrote = loop.time() + self._seconds, loop.time()
        watch = self._watch
        try:
            watch.tell(self._flush)
            out.when_room(self._flush)
            self._flush()
            await self._last(loop)
        finally:
            watch.close()

    async def _last(self, loop: asyncio.AbstractEventLoop) -> None:
        """Until the stream's end, with a bookmark now and then."""
        while not self._ended.done():
            until = self._deadline
            if self._bookmarks is not None:
                until = min(until, self._wrote + self._bookmarks)
            await asyncio.wait([self._ended], timeout=max(0.0, until - loop.time()))
            if self._ended.done() or (now := loop.time()) >= self._deadline:
                break
            if self._bookmarks is not None and now >= self._wrote + self._bookmarks:
                self._wrote = now
                self._write(self._watch.bookmark)
        if self._ended.done():
            self._ended.result()

    def _flush(self) -> None:
        self._write(self._watch.take)

    def _write(self, take: Callable[[], Sequence[ApiEvent]]) -> None:
        """What there is; while the connection is full it stays with the cache, which cuts off who never takes it.

        Never raises: what fails here ends this stream, not the cache that called. Nothing is written after what failed,
        for the client, going on from there, would not know what it missed."""
        if self._ended.done():
            return
        try:
            if self._out.full and not self._watch.cut:
                return
            try:
                events = take()
            except ApiError as error:
                self._out.write(self._lines.error(error))
                self._ended.set_result(None)
                return
            if events:
                self._out.write(*map(self._lines.of, events))
                self._wrote = self._ended.get_loop().time()
        except Exception as error:
            self._ended.set_exception(error)


class _Lines:
    """Events as bytes, each in the frame of an HTTP chunk."""

    def __init__(self, resource: Resource, form: Form, include: str, clock: Clock) -> None:
        self._resource = resource
        self._form = form
        self._include = include_of(include)
        self._clock = clock
        self._first = True

    def error(self, error: ApiError) -> bytes:
        """What ends a watch; as an event, because the reply's own status has been sent."""
        if self._form.encoding == "protobuf":
            status = codec.from_builtins(meta_v1.Status, error.status())
            return chunk(codec_protobuf.watch_frame("ERROR", codec.encode_protobuf(status)))
        return self._line("ERROR", msgspec.json.encode(error.status()))

    def _frame(self, event: ApiEvent) -> bytes:
        """In protobuf: the body is made once, and shared by all watchers of the object."""
        if event.item is not None:
            return codec_protobuf.watch_frame(event.type, protobuf(event.item))
        annotations = {INITIAL_END: "true"} if event.initial_events_end else {}
        metadata = meta_v1.ObjectMeta(resource_version=str(event.revision), annotations=annotations)
        return codec_protobuf.watch_frame("BOOKMARK", codec.encode_protobuf(self._resource.type(metadata=metadata)))

    def of(self, event: ApiEvent) -> bytes:
        if self._form.encoding == "protobuf":
            return chunk(self._frame(event))
        if event.item is None:
            return self._bookmark(event)
        if self._form.convert == "Table":
            return self._line(event.type, self._table(event.item, event.revision))
        item = event.item
        key = event.type + "/partial" if self._form.convert else event.type
        found: bytes | None = item.forms.get(key) if item.revision == event.revision else None
        if found is None:
            found = self._line(event.type, partial(item) if self._form.convert else item.json)
            if item.revision == event.revision:
                item.forms[key] = found
        return found

    def _table(self, item: Item, revision: int) -> bytes:
        first, self._first = self._first, False
        table = make_table(
            self._resource,
            [item],
            self._clock.now(),
            revision=revision,
            include=self._include,
            with_columns=first,
        )
        return codec.encode(table)

    def _bookmark(self, event: ApiEvent) -> bytes:
        metadata: dict[str, Any] = {"resourceVersion": str(event.revision), "creationTimestamp": None}
        if event.initial_events_end:
            metadata["annotations"] = {INITIAL_END: "true"}
        kind, version = self._resource.kind, self._resource.api_version
        if self._form.convert:
            kind, version = "PartialObjectMetadata", "meta.k8s.io/v1"
        inner: dict[str, Any] = {"kind": kind, "apiVersion": version, "metadata": metadata}
        if self._form.convert == "Table":
            inner = {
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": {"resourceVersion": str(event.revision)},
                "columnDefinitions": [],
                "rows": [{"cells": [], "object": inner}],
            }
        return self._line("BOOKMARK", msgspec.json.encode(inner))

    @staticmethod
    def _line(type_: str, body: bytes) -> bytes:
        return chunk(b'{"type":"%b","object":%b}\n' % (type_.encode(), body))
