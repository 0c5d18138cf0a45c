"""OpenAPI v2 for the clients that know nothing newer: kubectl up to 1.26 checks manifests by it, others try it first.

    the v3 documents ──► one Swagger document (definitions and the PATCH operations) ──► JSON, or protobuf

The protobuf form is the gnostic project's `openapi.v2.Document`; only the fields that clients read are written, by hand:
each line of the encoders below names a field and its number. Made when first asked for; takes about half a second.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from kubeapi.codec_protobuf import wire_field
from kubeapi.openapi import openapi_v3
from kubeapi.scheme import SCHEME


@functools.cache
def document() -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for group, versions in sorted(SCHEME.groups().items()):
        for version in versions:
            made = msgspec.json.decode(openapi_v3(group, version) or b"{}")
            for name, schema in made["components"]["schemas"].items():
                definitions.setdefault(name, _schema(schema))
            for path, item in made["paths"].items():
                paths[path] = _path(item)
    info = {"title": "Kubernetes", "version": "v1.33.0"}
    return {"swagger": "2.0", "info": info, "paths": paths, "definitions": definitions}


@functools.cache
def as_json() -> bytes:
    return msgspec.json.encode(document())


@functools.cache
def as_protobuf() -> bytes:
    made = document()
    info = _text(1, made["info"]["title"]) + _text(2, made["info"]["version"])
    paths = b"".join(wire_field(2, _named(name, _path_message(item))) for name, item in made["paths"].items())
    definitions = b"".join(wire_field(1, _named(n, _schema_message(s))) for n, s in made["definitions"].items())
    return _text(1, made["swagger"]) + wire_field(2, info) + wire_field(8, paths) + wire_field(9, definitions)


# ------------------------------------------------------------------ from v3 to v2


def _schema(schema: Any) -> Any:
    """References are named otherwise, and `oneOf` is not known: what may be two things is a string, as Kubernetes says it."""
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("#/components/schemas/", "#/definitions/")}
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "oneOf":
            made["type"] = "string"
        elif key == "allOf":
            made |= _schema(value[0])
        elif key == "properties":
            made[key] = {name: _schema(inner) for name, inner in value.items()}
        elif key in ("items", "additionalProperties"):
            made[key] = _schema(value)
        else:
            made[key] = value
    return made


def _path(item: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [_parameter(p) for p in value] if key == "parameters" else _operation(value) for key, value in item.items()
    }


def _parameter(parameter: dict[str, Any]) -> dict[str, Any]:
    made = {"name": parameter["name"], "in": parameter["in"], "type": "string", "uniqueItems": True}
    return made | {"required": True} if parameter["in"] == "path" else made


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    made = {
        "operationId": operation["operationId"],
        "parameters": [_parameter(p) for p in operation["parameters"]],
        "responses": {"200": {"description": "OK"}},
    }
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]
        schema = _schema(next(iter(content.values()))["schema"])
        made["consumes"] = list(content)
        made["parameters"] = [{"name": "body", "in": "body", "required": True, "schema": schema}, *made["parameters"]]
    return made | {key: value for key, value in operation.items() if key.startswith("x-")}


# ------------------------------------------------------------------ to protobuf


def _text(number: int, text: str) -> bytes:
    return wire_field(number, text.encode()) if text else b""


def _named(name: str, value: bytes) -> bytes:
    return _text(1, name) + wire_field(2, value)


def _extensions(number: int, source: dict[str, Any]) -> bytes:
    """NamedAny: the value as YAML, of which JSON is a part."""
    names = (name for name in source if name.startswith("x-"))
    return b"".join(
        wire_field(number, _named(name, wire_field(2, msgspec.json.encode(source[name])))) for name in names
    )


def _schema_message(schema: dict[str, Any]) -> bytes:
    parts = [_text(1, schema.get("$ref", "")), _text(2, schema.get("format", ""))]
    parts += [_text(19, name) for name in schema.get("required", ())]
    parts += [wire_field(20, wire_field(2, msgspec.json.encode(value))) for value in schema.get("enum", ())]
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        parts.append(wire_field(21, wire_field(1, _schema_message(extra))))
    if "type" in schema:
        parts.append(wire_field(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(wire_field(23, wire_field(1, _schema_message(schema["items"]))))
    if "properties" in schema:
        inner = (wire_field(1, _named(n, _schema_message(s))) for n, s in schema["properties"].items())
        parts.append(wire_field(25, b"".join(inner)))
    return b"".join([*parts, _extensions(31, schema)])


_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "patch": 8}


def _path_message(item: dict[str, Any]) -> bytes:
    parts = [wire_field(number, _operation_message(item[name])) for name, number in _METHODS.items() if name in item]
    return b"".join([*parts, *_parameters(9, item.get("parameters", ()))])


def _parameters(number: int, parameters: Iterable[dict[str, Any]]) -> list[bytes]:
    return [wire_field(number, wire_field(1, _parameter_message(p))) for p in parameters]


def _parameter_message(parameter: dict[str, Any]) -> bytes:
    where = parameter["in"]
    if where == "body":
        body = _text(2, parameter["name"]) + _text(3, where) + b"\x20\x01"  # required = 4: true
        return wire_field(1, body + wire_field(5, _schema_message(parameter["schema"])))
    required = b"\x08\x01" if parameter.get("required") else b""  # required = 1
    named = required + _text(2, where) + _text(4, parameter["name"])
    if where == "query":
        return wire_field(2, wire_field(3, named + _text(6, parameter["type"])))
    return wire_field(2, wire_field(4, named + _text(5, parameter["type"])))


def _operation_message(operation: dict[str, Any]) -> bytes:
    parts = [_text(5, operation["operationId"])]
    parts += [_text(7, kind) for kind in operation.get("consumes", ())]
    parts += _parameters(8, operation["parameters"])
    responses = b"".join(
        wire_field(1, _named(code, wire_field(1, _text(1, response["description"]))))
        for code, response in operation["responses"].items()
    )
    return b"".join([*parts, wire_field(9, responses), _extensions(13, operation)])
