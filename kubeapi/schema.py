"""What the proto files say of a type beyond its Struct: merge keys, list types, allowed values, wire descriptors.

Read from the descriptors of kubeapi.pb when first asked for, type by type: nothing here costs anything at import,
and there is no second table that could differ from proto/.
"""

from __future__ import annotations

import functools
import importlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor


@dataclass(frozen=True, slots=True)
class FieldInfo:
    json_name: str
    attribute: str
    descriptor: FieldDescriptor
    inside: tuple[FieldDescriptor, ...]
    """The inlined messages through which the wire reaches this field, outermost first."""
    message: Descriptor | None
    """The message of a value or element; None for scalars, and for messages that are no JSON objects."""
    scalar: str
    """time, quantity, int_or_string, ...: see proto/sampan/schema.proto; empty for the rest."""
    repeated: bool
    map: bool
    required: bool
    merge_key: str
    patch_strategy: tuple[str, ...]
    list_type: str
    list_map_keys: tuple[str, ...]
    one_of: tuple[str, ...]


@functools.cache
def _options() -> Any:
    return importlib.import_module("kubeapi.pb.sampan.schema_pb2").DESCRIPTOR.extensions_by_name


def option(element: Any, name: str) -> Any:
    """The value of one of our options of a field, message or file."""
    return element.GetOptions().Extensions[_options()[name]]


def descriptor_of(type_: Any) -> Descriptor:
    """The wire message of a Struct. Raises KeyError for a type that has none."""
    return _descriptor(type_.__module__.rpartition(".")[2], type_.__name__)


@functools.cache
def _descriptor(stem: str, name: str) -> Descriptor:
    module = importlib.import_module(f"kubeapi.pb.kubernetes.{stem}_pb2")
    return module.DESCRIPTOR.message_types_by_name[name]  # type: ignore[no-any-return]


def struct_of(message: Descriptor) -> Any:
    stem = message.file.name.rpartition("/")[2].removesuffix(".proto")
    return getattr(importlib.import_module(f"kubeapi.types.{stem}"), message.name)


def reader(attributes: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """What reads all these of an object at once: a tuple in their order."""
    if len(attributes) == 1:
        only = attributes[0]
        return lambda value: (getattr(value, only),)
    return operator.attrgetter(*attributes) if attributes else lambda value: ()


@functools.cache
def fields_of(message: Descriptor) -> dict[str, FieldInfo]:
    """JSON name to field, inlined messages flattened."""
    found: dict[str, FieldInfo] = {}
    _collect(message, (), found)
    return found


def _collect(message: Descriptor, inside: tuple[FieldDescriptor, ...], found: dict[str, FieldInfo]) -> None:
    for f in message.fields:
        value = f.message_type
        if value is not None and option(f, "inline"):
            _collect(value, (*inside, f), found)
            continue
        is_map = value is not None and value.GetOptions().map_entry
        if value is not None and is_map:
            value = value.fields_by_name["value"].message_type
        scalar = option(value, "scalar") if value is not None else ""
        found[f.json_name] = FieldInfo(
            json_name=f.json_name,
            attribute=f"{f.name}_" if iskeyword(f.name) else f.name,
            descriptor=f,
            inside=inside,
            message=value if value is not None and not scalar else None,
            scalar=scalar,
            repeated=f.is_repeated and not is_map,
            map=is_map,
            required=option(f, "required"),
            merge_key=option(f, "merge_key"),
            patch_strategy=tuple(filter(None, option(f, "patch_strategy").split(","))),
            list_type=option(f, "list_type"),
            list_map_keys=tuple(option(f, "list_map_key")),
            one_of=tuple(filter(None, option(f, "one_of").split(","))),
        )


@functools.lru_cache(maxsize=4096)
def field_at(type_: Any, path: tuple[str, ...]) -> FieldInfo | None:
    """The field at a path of JSON names; list elements and map keys leave no trace in it. None where there is none."""
    message: Descriptor | None = descriptor_of(type_)
    info: FieldInfo | None = None
    for name in path:
        info = fields_of(message).get(name) if message is not None else None
        if info is None:
            return None
        message = info.message
    return info
