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
from typing import Any, TypeVar, Union

import msgspec
import yaml

from kubeapi.errors import BadRequest

T = TypeVar("T")

ENCODER = msgspec.json.Encoder()
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
        return _decoder(type_).decode(data)
    except msgspec.ValidationError:
        return _decode_slowly(type_, data)[0]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error


def decode_strict(type_: type[T], data: bytes | str) -> tuple[T, list[str]]:
    """The object, and its problems: `unknown field "spec.foo"`, `duplicate field "spec.replicas"`."""
    try:
        obj = _decoder(type_).decode(data)
    except msgspec.ValidationError:
        obj, unknown = _decode_slowly(type_, data)
        return obj, unknown + duplicates(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the object provided is not JSON: {error}") from error
    return obj, duplicates(data)


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
    try:
        return msgspec.convert(value, type_, builtin_types=_BUILTIN), []
    except msgspec.ValidationError:
        problems: list[str] = []
        return _convert(type_, prune(type_, value, problems)), problems


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


def duplicates(data: bytes | str) -> list[str]:
    """`duplicate field "spec.replicas"` for each name that one JSON object has twice.

    Only a name that stands twice in the whole text can be a duplicate, and finding that out is one pass of the C
    parser with a hook per object; paths are worked out only when there is something to tell.
    """
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
    loader.flatten_mapping(node)
    made: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, bool):
            key = "true" if key else "false"
        name = key if isinstance(key, str) else str(key)
        if name in made:
            raise yaml.constructor.ConstructorError(None, None, f'duplicate field "{name}"', key_node.start_mark)
        made[name] = loader.construct_object(value_node, deep=True)
    return made


_KubernetesLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_KubernetesLoader.add_constructor("tag:yaml.org,2002:timestamp", lambda loader, node: loader.construct_scalar(node))


# ------------------------------------------------------------------ protobuf


def decode_protobuf(type_: type[T], data: bytes) -> T:
    """From `k8s\\0` and an Unknown envelope. Raises BadRequest."""
    from kubeapi import codec_protobuf

    return codec_protobuf.decode(type_, data)


def encode_protobuf(obj: Any) -> bytes:
    from kubeapi import codec_protobuf

    return codec_protobuf.encode(obj)
