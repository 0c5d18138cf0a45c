"""Bytes to Structs and back: JSON and YAML here, protobuf in codec_protobuf (loaded when first asked for).

    strict:   msgspec decode ──ok──► duplicate keys? ──no──► object, no problems
                     └─refused──► parse, prune against the Struct (unknown fields, nulls), convert ──► object, problems
    lenient:  the same, problems dropped

A Struct refuses unknown fields, so the common case (a body without faults) costs one decode; only a refused body is
walked field by field to name each problem by its path. A null counts as absent, as in Go.
"""

from __future__ import annotations

import functools
import json
import re
import types
import typing
from datetime import UTC, datetime
from typing import Any, TypeVar, Union

import msgspec
import yaml

from kubeapi.errors import BadRequest

T = TypeVar("T")

ENCODER = msgspec.json.Encoder()
_PLAIN = msgspec.json.Decoder()
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_DECODERS: dict[Any, Any] = {}
"""One decoder per type, made when first used."""


def _decoder(type_: type[T]) -> msgspec.json.Decoder[T]:
    found = _DECODERS.get(type_)
    if found is None:
        found = _DECODERS[type_] = msgspec.json.Decoder(type_)
    return found


def encode(obj: Any) -> bytes:
    """JSON. Zero values are left out, but for the fields that clients insist on."""
    return ENCODER.encode(obj)


def decode(type_: type[T], data: bytes | str) -> T:
    """Lenient: unknown fields and nulls are dropped. Raises BadRequest, naming a field of a wrong type."""
    try:
        return _settled(_decoder(type_).decode(data), data)
    except msgspec.ValidationError:
        return _settled(_decode_slowly(type_, data)[0], data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error


def decode_strict(type_: type[T], data: bytes | str) -> tuple[T, list[str]]:
    """The object, and its problems: `unknown field "spec.foo"`, `duplicate field "spec.replicas"`."""
    try:
        obj = _decoder(type_).decode(data)
    except msgspec.ValidationError:
        obj, unknown = _decode_slowly(type_, data)
        return _settled(obj, data), unknown + duplicates(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error
    return _settled(obj, data), duplicates(data)


_ODD_TIME = re.compile(r"T\d\d:\d\d:\d\d[.,+-]")
_ODD_TIME_BYTES = re.compile(_ODD_TIME.pattern.encode())


def has_odd_time(data: bytes) -> bool:
    """Whether some time in it (or a text that looks like one) will not be read as it is written."""
    return _ODD_TIME_BYTES.search(data) is not None


def _settled(obj: T, data: bytes | str) -> T:
    """A metav1.Time is a whole second of UTC; only a text with another one in it is looked through."""
    odd = _ODD_TIME.search(data) if isinstance(data, str) else _ODD_TIME_BYTES.search(data)
    return whole_seconds(obj) if odd is not None and isinstance(obj, msgspec.Struct) else obj


def whole_seconds(obj: Any) -> Any:
    """The object with each Time cut to its second, in UTC."""
    from kubeapi.schema import descriptor_of, fields_of  # protobuf's descriptors: loaded only where they are needed

    changes: dict[str, Any] = {}
    for info in fields_of(descriptor_of(type(obj))).values():
        inner = getattr(obj, info.attribute)
        if not inner:
            continue
        if info.scalar == "time" and isinstance(inner, datetime):
            try:
                changes[info.attribute] = inner.astimezone(UTC).replace(microsecond=0)
            except OverflowError as error:
                raise BadRequest(f"{info.json_name}: the time is outside of what UTC can show") from error
        elif info.message is not None and not info.scalar:
            changed: Any
            if info.map:
                changed = {k: whole_seconds(v) for k, v in inner.items()}
            elif info.repeated:
                changed = [whole_seconds(v) for v in inner]
            else:
                changed = whole_seconds(inner)
            if changed != inner:
                changes[info.attribute] = changed
    return msgspec.structs.replace(obj, **changes) if changes else obj


def _decode_slowly(type_: type[T], data: bytes | str) -> tuple[T, list[str]]:
    problems: list[str] = []
    try:
        raw = msgspec.json.decode(data)
        return _convert(type_, prune(type_, raw, problems)), problems
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error


def from_builtins(type_: type[T], value: Any) -> T:
    """From plain dicts and lists, as YAML or a patch gives them; lenient. Raises BadRequest."""
    return from_builtins_strict(type_, value)[0]


def from_builtins_strict(type_: type[T], value: Any) -> tuple[T, list[str]]:
    problems: list[str] = []
    try:
        obj = msgspec.convert(value, type_, builtin_types=_BUILTIN)
    except msgspec.ValidationError:
        obj = _convert(type_, prune(type_, value, problems))
    return (whole_seconds(obj) if isinstance(obj, msgspec.Struct) else obj), problems


_BUILTIN: tuple[type, ...] = ()


def _convert(type_: type[T], value: Any) -> T:
    try:
        return msgspec.convert(value, type_, builtin_types=_BUILTIN)
    except msgspec.ValidationError as error:
        raise BadRequest(explain(error)) from error


def to_builtins(obj: Any) -> Any:
    """Plain JSON values: strings for times, base64 for bytes."""
    return msgspec.to_builtins(obj)


_PATH = re.compile(r" - at `\$\.?(.*)`$")


def explain(error: msgspec.ValidationError) -> str:
    """`spec.replicas: expected int, got str`."""
    text = str(error)
    if match := _PATH.search(text):
        text = f"{match.group(1)}: {text[: match.start()]}"
    return text.replace("Expected `", "expected ").replace("`, got `", ", got ").replace("`", "")


# ------------------------------------------------------------------ unknown fields, nulls, duplicates


@functools.cache
def _fields(type_: type) -> dict[str, Any]:
    """JSON name to annotation, of a Struct."""
    return {f.encode_name: f.type for f in msgspec.structs.fields(type_)}


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def prune(type_: Any, value: Any, problems: list[str], path: str = "") -> Any:
    """The value without nulls and without fields that the type does not have; these are put into `problems`."""
    origin = typing.get_origin(type_)
    if origin is typing.Annotated:
        return prune(typing.get_args(type_)[0], value, problems, path)
    if origin in (Union, types.UnionType):
        fitting = _alternative(typing.get_args(type_), value)
        return prune(fitting, value, problems, path) if fitting is not None else value
    if isinstance(value, dict) and _is_struct(type_):
        known = _fields(type_)
        kept = {}
        for name, inner in value.items():
            where = f"{path}.{name}" if path else str(name)
            if name not in known:
                problems.append(f'unknown field "{where}"')
            elif inner is not None:
                kept[name] = prune(known[name], inner, problems, where)
        return kept
    if isinstance(value, dict) and origin is dict:
        inner_type = typing.get_args(type_)[1]
        zero = "" if inner_type is str else None
        return {
            k: prune(inner_type, v, problems, f"{path}.{k}") if v is not None else zero
            for k, v in value.items()
            if v is not None or zero is not None
        }
    if isinstance(value, list) and origin is list:
        inner_type = typing.get_args(type_)[0]
        return [prune(inner_type, v, problems, f"{path}[{i}]") for i, v in enumerate(value) if v is not None]
    return value


def _alternative(options: tuple[Any, ...], value: Any) -> Any:
    for option in options:
        plain = typing.get_origin(option) or option
        if isinstance(value, dict) and (_is_struct(plain) or plain is dict):
            return option
        if isinstance(value, list) and plain is list:
            return option
    return None


_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_SPACED = re.compile(rb'"\s+:')


def _names(text: bytes) -> int:
    return (_ESCAPE.sub(b"", text) if b"\\" in text else text).count(b'":')


def duplicates(data: bytes | str) -> list[str]:
    """`duplicate field "spec.replicas"` for each name that one JSON object has twice.

    Read and written again, a text keeps one of each name: it has duplicates exactly if it has lost names. Names are counted
    by the quote and colon behind each, once escapes are out of the way. Paths are worked out only when there is
    something to tell. (A pod of 2 KB: 10 µs; a parser with a hook per object took 38.)
    """
    text = data.encode() if isinstance(data, str) else data
    try:
        again = ENCODER.encode(_PLAIN.decode(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error
    if _names(text) == _names(again) and not _SPACED.search(text):
        return []
    found = False

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        made = dict(pairs)
        if len(made) != len(pairs):
            found = True
        return made

    try:
        json.loads(data, object_pairs_hook=hook)
        return _duplicate_paths(data) if found else []
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error


def _duplicate_paths(data: bytes | str) -> list[str]:
    problems: list[str] = []

    def walk(value: Any, path: str) -> None:
        if isinstance(value, tuple):
            seen: set[str] = set()
            for name, inner in value:
                where = f"{path}.{name}" if path else name
                if name in seen:
                    problems.append(f'duplicate field "{where}"')
                seen.add(name)
                walk(inner, where)
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                walk(inner, f"{path}[{i}]")

    walk(json.loads(data, object_pairs_hook=tuple), "")
    return problems


# ------------------------------------------------------------------ YAML


def load_yaml(text: str | bytes) -> list[dict[str, Any]]:
    """The documents of a YAML (or JSON) text, empty ones left out. Raises BadRequest with line and column."""
    try:
        documents = list(yaml.load_all(text, Loader=_KubernetesLoader))
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError, ValueError) as error:
        raise BadRequest(f"the manifest is not YAML: {error}") from error
    found = []
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise BadRequest(f"a manifest is a mapping with apiVersion and kind, not a {type(document).__name__}")
        found.append(document)
    return found


class _KubernetesLoader(_YAML_LOADER):  # type: ignore[misc,valid-type]
    """JSON's types only (a date stays a string), and a name may stand in a mapping once."""


def _mapping(loader: Any, node: yaml.MappingNode) -> dict[str, Any]:
    own: set[str] = set()
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        name = _name(loader, key_node)
        if name in own:
            raise yaml.constructor.ConstructorError(None, None, f'duplicate field "{name}"', key_node.start_mark)
        own.add(name)
    loader.flatten_mapping(node)  # what is merged in comes first, so that the mapping's own names win
    last = {_name(loader, key_node): (key_node, value_node) for key_node, value_node in node.value}
    node.value = list(last.values())
    return {name: loader.construct_object(value_node, deep=True) for name, (_, value_node) in last.items()}


def _name(loader: Any, node: yaml.Node) -> str:
    key = loader.construct_object(node, deep=True)
    if isinstance(key, bool):
        return "true" if key else "false"
    return key if isinstance(key, str) else str(key)


_KubernetesLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
# A date, and the lone `=` that YAML 1.1 sets apart (operators in manifests): both are text here.
for _tag in ("timestamp", "value"):
    _KubernetesLoader.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node))


# ------------------------------------------------------------------ protobuf


def decode_protobuf(type_: type[T], data: bytes) -> T:
    """From `k8s\\0` and an Unknown envelope. Raises BadRequest."""
    from kubeapi import codec_protobuf

    return codec_protobuf.decode(type_, data)


def encode_protobuf(obj: Any) -> bytes:
    from kubeapi import codec_protobuf

    return codec_protobuf.encode(obj)
