"""A maximal object of every kind goes YAML → Struct → JSON → Struct → protobuf → Struct and comes back unchanged."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kubeapi import codec
from kubeapi.schema import FieldInfo, descriptor_of, fields_of, struct_of
from kubeapi.scheme import SCHEME, Resource

SAMPLES: dict[str, Any] = {
    "time": "2026-11-21T04:05:06Z",
    "microtime": "2026-11-21T04:05:06.000007Z",
    "duration": "90s",
    "quantity": "1500m",
    "int_or_string": "25%",
    "raw": {"any": ["thing", 1, {"deep": True}]},
    "list": ["a", "b"],
    "schema_or_bool": True,
    "schema_or_string_array": ["x"],
}


def maximal(message: Descriptor, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """Every field set; a recursive message is entered once."""
    own = {
        name: sample(info, seen)
        for name, info in fields_of(message).items()
        if not (info.message is not None and info.message.full_name in seen)
    }
    struct = struct_of(message)
    if "api_version" in struct.__struct_fields__ and "kind" in struct.__struct_fields__ and "kind" not in own:
        own |= {"apiVersion": struct().api_version, "kind": struct().kind}
    return own


def sample(info: FieldInfo, seen: tuple[str, ...]) -> Any:
    if info.message is not None:
        value: Any = maximal(info.message, (*seen, info.message.full_name))
    elif info.scalar == "schema_or_array":
        value = {"type": "string"}
    elif info.scalar:
        value = SAMPLES[info.scalar]
    else:
        field = info.descriptor
        if info.map and field.message_type is not None:
            field = field.message_type.fields_by_name["value"]
        value = scalar(field, info)
    if info.map:
        return {"key": value}
    return [value] if info.repeated else value


def scalar(field: FieldDescriptor, info: FieldInfo) -> Any:
    if field.type == field.TYPE_STRING:
        return info.one_of[0] if info.one_of else f"{field.name}-text"
    if field.type == field.TYPE_BYTES:
        return "c2VjcmV0"
    if field.type == field.TYPE_BOOL:
        return True
    return 1.5 if field.type == field.TYPE_DOUBLE else field.number


@pytest.mark.parametrize("resource", SCHEME.resources, ids=lambda r: f"{r.qualified}-{r.version}")
def test_maximal_object_survives_every_encoding(resource: Resource) -> None:
    plain = maximal(descriptor_of(resource.type))
    (document,) = codec.load_yaml(yaml.safe_dump(plain))

    first, problems = codec.from_builtins_strict(resource.type, document)
    assert problems == []
    second, problems = codec.decode_strict(resource.type, codec.encode(first))
    assert problems == []
    assert second == first
    assert codec.decode_protobuf(resource.type, codec.encode_protobuf(second)) == first
    assert codec.to_builtins(first) == plain


def test_a_minimal_object_survives_too() -> None:
    for resource in SCHEME.resources:
        empty = resource.type()
        assert codec.decode(resource.type, codec.encode(empty)) == empty
        assert codec.decode_protobuf(resource.type, codec.encode_protobuf(empty)) == empty
