"""Structs to and from Kubernetes' protobuf bodies: four bytes `k8s\\0`, then a runtime.Unknown around the message.

    bytes ── Unknown ── kubeapi.pb message ──ListFields──► plain values ──convert──► Struct
    Struct ──getattr per field──► kubeapi.pb message ──► bytes

Decoding goes through plain values, so that types are checked and unknown content refused exactly as for JSON.
The messages stay inside this file. Measured: a 2 KB pod decodes in about 150 µs; JSON takes 7, and is what we store.
"""

from __future__ import annotations

import functools
import importlib
import json
from base64 import b64encode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError, Message

from kubeapi.errors import BadRequest
from kubeapi.schema import FieldInfo, descriptor_of, fields_of, option

T = TypeVar("T")

MAGIC = b"k8s\x00"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@functools.cache
def _message_class(message: Descriptor) -> type[Message]:
    stem = message.file.name.removesuffix(".proto").replace("/", ".")
    return getattr(importlib.import_module(f"kubeapi.pb.{stem}_pb2"), message.name)  # type: ignore[no-any-return]


def _unknown() -> Any:
    return importlib.import_module("kubeapi.pb.kubernetes.runtime_pb2").Unknown


# ------------------------------------------------------------------ decoding


def open_envelope(data: bytes) -> tuple[str, str, bytes]:
    """(apiVersion, kind, the message's bytes). Raises BadRequest."""
    if not data.startswith(MAGIC):
        raise BadRequest("the body is no Kubernetes protobuf: it does not start with k8s\\0")
    try:
        unknown = _unknown().FromString(data[len(MAGIC) :])
    except DecodeError as error:
        raise BadRequest(f"the protobuf envelope cannot be read: {error}") from error
    return unknown.type_meta.api_version, unknown.type_meta.kind, unknown.raw


def decode(type_: type[T], data: bytes) -> T:
    """Raises BadRequest."""
    api_version, kind, raw = open_envelope(data)
    descriptor = descriptor_of(type_)
    try:
        message = _message_class(descriptor).FromString(raw)
    except DecodeError as error:
        raise BadRequest(f"the protobuf body is no {kind or descriptor.name}: {error}") from error
    value = _to_plain(message)
    if api_version:
        value["apiVersion"] = api_version
    if kind:
        value["kind"] = kind
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise BadRequest(f"{kind}: {error}") from error


def _to_plain(message: Message) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for field, value in message.ListFields():
        if option(field, "inline"):
            made.update(_to_plain(value))
            continue
        name, of = field.json_name, field.message_type
        if of is None:
            made[name] = [_plain_scalar(v) for v in value] if field.is_repeated else _plain_scalar(value)
        elif of.GetOptions().map_entry:
            inner = of.fields_by_name["value"].message_type
            made[name] = {k: _plain_scalar(v) if inner is None else _plain_message(v) for k, v in value.items()}
        elif field.is_repeated:
            made[name] = [_plain_message(v) for v in value]
        else:
            plain = _plain_message(value)
            if plain is not None:
                made[name] = plain
    return made


def _plain_scalar(value: Any) -> Any:
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _plain_message(message: Any) -> Any:
    scalar = option(message.DESCRIPTOR, "scalar")
    return FROM_WIRE[scalar](message) if scalar else _to_plain(message)


def _moment(seconds: int, microseconds: int) -> datetime:
    try:
        return EPOCH + timedelta(seconds=seconds, microseconds=microseconds)
    except OverflowError as error:
        raise BadRequest(f"a time {seconds} seconds from 1970 cannot be shown") from error


def _time(message: Any) -> str | None:
    if not message.seconds and not message.nanos:
        return None
    moment = _moment(message.seconds, 0)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _micro(message: Any) -> str | None:
    if not message.seconds and not message.nanos:
        return None
    moment = _moment(message.seconds, message.nanos // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _duration(message: Any) -> str:
    return f"{message.duration / 1e9:g}s"


def _raw(message: Any) -> Any:
    if not message.raw:
        return None
    try:
        return msgspec.json.decode(message.raw)
    except msgspec.DecodeError as error:
        raise BadRequest(f"raw content is no JSON: {error}") from error


def _or(message: Any, other: Callable[[Any], Any]) -> Any:
    return _to_plain(message.schema) if message.HasField("schema") else other(message)


FROM_WIRE: dict[str, Callable[[Any], Any]] = {
    "time": _time,
    "microtime": _micro,
    "duration": _duration,
    "quantity": lambda m: m.string or "0",
    "int_or_string": lambda m: m.str_val if m.type else m.int_val,
    "raw": _raw,
    "list": lambda m: list(m.items),
    "schema_or_bool": lambda m: _or(m, lambda x: x.allows),
    "schema_or_array": lambda m: _or(m, lambda x: [_to_plain(s) for s in x.json_schemas]),
    "schema_or_string_array": lambda m: _or(m, lambda x: list(x.property)),
}


# ------------------------------------------------------------------ encoding


def encode(obj: Any) -> bytes:
    return envelope(obj.api_version, obj.kind, encode_message(obj))


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    unknown = _unknown()()
    unknown.type_meta.api_version, unknown.type_meta.kind = api_version, kind
    unknown.raw = raw
    return MAGIC + unknown.SerializeToString()  # type: ignore[no-any-return]


def list_message(metadata: Any, items: Iterable[bytes]) -> bytes:
    """A List's message from its items' messages: metadata is field 1 and items field 2 of every one."""
    parts = [wire_field(1, encode_message(metadata))]
    parts += [wire_field(2, item) for item in items]
    return b"".join(parts)


def watch_frame(type_: str, body: bytes) -> bytes:
    """One metav1.WatchEvent, its length in four bytes before it: type is field 1, object (raw is its field 1) field 2."""
    event = wire_field(1, type_.encode()) + wire_field(2, wire_field(1, body))
    return len(event).to_bytes(4, "big") + event


def wire_field(number: int, data: bytes) -> bytes:
    """A string, bytes or a message as the wire has it: tag, length, data."""
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def encode_message(obj: Any) -> bytes:
    descriptor = descriptor_of(type(obj))
    message = _message_class(descriptor)()
    _fill(message, obj, descriptor)
    return message.SerializeToString()


def _fill(message: Any, obj: Any, descriptor: Descriptor) -> None:
    for info in fields_of(descriptor).values():
        value = getattr(obj, info.attribute)
        if value is None:
            continue
        empty = value in ("", [], {}) or value is False or value == 0
        if empty and (not info.descriptor.has_presence or info.message is not None):
            continue
        place = message
        for step in info.inside:
            place = getattr(place, step.name)
            place.SetInParent()
        _set(place, info, value)


def _set(message: Any, info: FieldInfo, value: Any) -> None:
    field: FieldDescriptor = info.descriptor
    slot = getattr(message, field.name)
    if info.map:
        for key, inner in value.items():
            if field.message_type is not None and field.message_type.fields_by_name["value"].message_type is None:
                slot[key] = inner
            else:
                _fill_element(slot[key], info, inner)
    elif info.repeated:
        for inner in value:
            if field.message_type is None:
                slot.append(inner)
            else:
                _fill_element(slot.add(), info, inner)
    elif field.message_type is None:
        setattr(message, field.name, value)
    else:
        slot.SetInParent()
        _fill_element(slot, info, value)


def _fill_element(message: Any, info: FieldInfo, value: Any) -> None:
    if info.scalar:
        TO_WIRE[info.scalar](message, value)
    else:
        _fill(message, value, message.DESCRIPTOR)


def _set_time(message: Any, value: datetime) -> None:
    message.seconds = int((value - EPOCH).total_seconds())


def _set_micro(message: Any, value: str) -> None:
    try:
        passed = datetime.fromisoformat(value) - EPOCH
    except (ValueError, TypeError) as error:
        raise BadRequest(f"{value!r} is no time with a zone, such as 2026-11-21T04:05:06.000000Z") from error
    message.seconds = passed.days * 86400 + passed.seconds
    message.nanos = passed.microseconds * 1000


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def _set_duration(message: Any, value: str) -> None:
    import re

    parts = re.findall(r"([\d.]+)(ms|us|ns|h|m|s)", value)
    message.duration = round(sum(float(n) * _UNITS[u] for n, u in parts) * 1e9)


def _set_int_or_string(message: Any, value: int | str) -> None:
    if isinstance(value, str):
        message.type, message.str_val = 1, value
    else:
        message.int_val = value


def _set_schema_or(message: Any, value: Any) -> None:
    if isinstance(value, bool):
        message.allows = value
    elif isinstance(value, list) and value and isinstance(value[0], str):
        message.property.extend(value)
    elif isinstance(value, list):
        for inner in value:
            slot = message.json_schemas.add()
            _fill(slot, inner, slot.DESCRIPTOR)
    else:
        message.schema.SetInParent()
        _fill(message.schema, value, message.schema.DESCRIPTOR)
        if "allows" in message.DESCRIPTOR.fields_by_name:
            message.allows = True


TO_WIRE: dict[str, Callable[[Any, Any], None]] = {
    "time": _set_time,
    "microtime": _set_micro,
    "duration": _set_duration,
    "quantity": lambda m, v: setattr(m, "string", str(v)),
    "int_or_string": _set_int_or_string,
    "raw": lambda m, v: setattr(m, "raw", json.dumps(v, separators=(",", ":")).encode()),
    "list": lambda m, v: m.items.extend(v),
    "schema_or_bool": _set_schema_or,
    "schema_or_array": _set_schema_or,
    "schema_or_string_array": _set_schema_or,
}
