"""Watches over HTTP: one JSON line an event, its bytes made once and shared by all watchers of the object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any

import msgspec

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.encode import include_of, partial, protobuf
from controlplane.apiserver.doors.http1 import Reply
from controlplane.apiserver.doors.negotiate import Form
from controlplane.apiserver.doors.request_info import RequestInfo
from controlplane.apiserver.items import ApiEvent, Item
from controlplane.apiserver.tables.table import make_table
from kubeapi import codec, codec_protobuf
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, Expired, Invalid
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

LONGEST = 3600.0
"""Seconds, for a watcher that names no timeout of its own."""
INITIAL_END = "k8s.io/initial-events-end"
PROMPT = 0.02
"""Seconds in which a faulty watch fails, so that its error can be the reply's own status."""


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
    batches = calls.watch(
        ctx,
        resource,
        namespace,
        label_selector=info.one("labelSelector"),
        field_selector=fields,
        resource_version=info.one("resourceVersion"),
        bookmarks=info.flag("allowWatchBookmarks"),
        send_initial_events=initial if "sendInitialEvents" in info.query else None,
    )
    lines = _Lines(resource, form, info.one("includeObject"), clock)
    first = asyncio.ensure_future(anext(batches))
    try:
        await asyncio.wait([first], timeout=PROMPT)
        if first.done() and isinstance(error := first.exception(), ApiError) and not isinstance(error, Expired):
            raise error
    except BaseException:
        first.cancel()
        raise
    body = _stream(batches, first, lines, float(timeout) if timeout else LONGEST)
    return Reply(200, [("Content-Type", form.content_type)], body)


async def _stream(
    batches: AsyncIterator[Sequence[ApiEvent]],
    pending: asyncio.Future[Sequence[ApiEvent]],
    lines: _Lines,
    timeout: float,
) -> AsyncGenerator[bytes, None]:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    try:
        while True:
            done, _ = await asyncio.wait([pending], timeout=max(0.0, deadline - loop.time()))
            if not done:
                return
            try:
                batch = pending.result()
            except StopAsyncIteration:
                return
            except ApiError as error:
                yield lines.error(error)
                return
            pending = asyncio.ensure_future(anext(batches))
            yield b"".join([lines.of(event) for event in batch])
    finally:
        pending.cancel()
        await asyncio.gather(pending, return_exceptions=True)
        await batches.aclose()  # type: ignore[attr-defined]


class _Lines:
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
            return codec_protobuf.watch_frame("ERROR", codec.encode_protobuf(status))
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
            return self._frame(event)
        if event.item is None:
            return self._bookmark(event)
        if self._form.convert == "Table":
            return self._line(event.type, self._table(event.item, event.revision))
        kind = "partial" if self._form.convert else "json"
        item, key = event.item, (kind, event.type)
        found = item.forms.get(key) if item.revision == event.revision else None
        if found is None:
            body = partial(item) if kind == "partial" else item.json
            found = self._line(event.type, body)
            if item.revision == event.revision:
                item.forms[key] = found
        return bytes(found)

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
        return b'{"type":"%b","object":%b}\n' % (type_.encode(), body)
