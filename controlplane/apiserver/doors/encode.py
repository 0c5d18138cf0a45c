"""Objects into the form that a client accepts. JSON goes out as the cache holds it: bytes joined, nothing decoded."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from controlplane.apiserver.doors.http_messages import Reply
from controlplane.apiserver.doors.negotiate import Form
from controlplane.apiserver.items import Item, ListResult
from controlplane.apiserver.tables.table import IncludeObject, make_table
from kubeapi import codec
from kubeapi.clock import Clock
from kubeapi.errors import BadRequest
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

JSON = ("Content-Type", "application/json")


def include_of(text: str) -> IncludeObject:
    if text in ("", "Metadata"):
        return "Metadata"
    if text == "Object":
        return "Object"
    if text == "None":
        return "None"
    raise BadRequest('includeObject: supported values are "None", "Metadata" and "Object"')


def one(resource: Resource, item: Item, form: Form, clock: Clock, include: str, *, status: int = 200) -> Reply:
    if form.convert == "Table":
        revision = item.revision
        return Reply(
            status,
            [JSON],
            codec.encode(make_table(resource, [item], clock.now(), revision=revision, include=include_of(include))),
        )
    if form.convert:
        return Reply(status, [JSON], partial(item))
    if form.encoding == "protobuf":
        return Reply(status, [("Content-Type", form.content_type)], protobuf(item))
    if form.encoding == "yaml":
        return Reply(status, [("Content-Type", form.content_type)], as_yaml(item.json))
    return Reply(status, [JSON], item.json)


def many(resource: Resource, listing: ListResult, form: Form, clock: Clock, include: str) -> Reply:
    if form.convert == "Table":
        table = make_table(
            resource,
            listing.items,
            clock.now(),
            revision=listing.revision,
            continue_=listing.continue_,
            remaining=listing.remaining,
            include=include_of(include),
        )
        return Reply(200, [JSON], codec.encode(table))
    if form.encoding == "protobuf":
        return _many_protobuf(resource, listing, form)
    metadata: dict[str, Any] = {"resourceVersion": str(listing.revision)}
    if listing.continue_:
        metadata |= {"continue": listing.continue_}
    if listing.remaining:
        metadata |= {"remainingItemCount": listing.remaining}
    if form.convert:
        kind, version = "PartialObjectMetadataList", "meta.k8s.io/v1"
        items = [partial(item) for item in listing.items]
    else:
        kind, version = f"{resource.kind}List", resource.api_version
        items = [item.json for item in listing.items]
    head = f'{{"kind":"{kind}","apiVersion":"{version}","metadata":'.encode() + msgspec.json.encode(metadata)
    body = b"".join((head, b',"items":[', b",".join(items), b"]}"))
    if form.encoding == "yaml":
        return Reply(200, [("Content-Type", form.content_type)], as_yaml(body))
    return Reply(200, [JSON], body)


def _many_protobuf(resource: Resource, listing: ListResult, form: Form) -> Reply:
    from kubeapi import codec_protobuf

    metadata = meta_v1.ListMeta(
        resource_version=str(listing.revision),
        continue_=listing.continue_,
        remaining_item_count=listing.remaining or None,
    )
    raw = codec_protobuf.list_message(metadata, [message(item) for item in listing.items])
    body = codec_protobuf.envelope(resource.api_version, f"{resource.kind}List", raw)
    return Reply(200, [("Content-Type", form.content_type)], body)


def message(item: Item) -> bytes:
    """The object's protobuf message, kept with the item."""
    found = item.forms.get("message")
    if found is None:
        from kubeapi import codec_protobuf

        found = item.forms["message"] = codec_protobuf.encode_message(item.object)
    return bytes(found)


def protobuf(item: Item) -> bytes:
    from kubeapi import codec_protobuf

    return codec_protobuf.envelope(item.object.api_version, item.object.kind, message(item))


def partial(item: Item) -> bytes:
    """PartialObjectMetadata, kept with the item."""
    found = item.forms.get("partial")
    if found is None:
        head = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":'
        found = item.forms["partial"] = head + codec.encode(item.object.metadata) + b"}"
    return bytes(found)


def as_yaml(json: bytes) -> bytes:
    return yaml.safe_dump(msgspec.json.decode(json), sort_keys=False, allow_unicode=True).encode()
