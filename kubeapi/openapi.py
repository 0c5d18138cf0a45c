"""OpenAPI v3, one document per group-version, made from proto/ when first asked for.

kubectl uses it for `explain`, `apply`, `diff` and to learn that the server validates fields itself (the fieldValidation
parameter of PATCH). Schemas are named as Kubernetes names them, so that clients which know the names find them.
Source: KEP-2896 (OpenAPI v3), and the vendor extensions of the Kubernetes API reference.
"""

from __future__ import annotations

import functools
import hashlib
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from kubeapi.schema import FieldInfo, descriptor_of, fields_of
from kubeapi.scheme import SCHEME, Resource

_SCALARS: dict[str, dict[str, Any]] = {
    "time": {"type": "string", "format": "date-time"},
    "microtime": {"type": "string", "format": "date-time"},
    "duration": {"type": "string"},
    "quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
    "int_or_string": {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    "raw": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "list": {"type": "array", "items": {"type": "string"}},
    "schema_or_bool": {},
    "schema_or_array": {},
    "schema_or_string_array": {},
}
_WIRE = {
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_INT64: {"type": "integer", "format": "int64"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
}
_OUTSIDE = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta",
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
    "metrics": "io.k8s.metrics.pkg.apis.metrics",
}


def schema_name(message: Descriptor) -> str:
    """`io.k8s.api.apps.v1.Deployment`."""
    _, base, version = message.file.package.split(".")
    return f"{_OUTSIDE.get(base, f'io.k8s.api.{base}')}.{version}.{message.name}"


def path_of(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


@functools.cache
def openapi_v3_index() -> bytes:
    """GET /openapi/v3."""
    paths = {}
    for group, versions in SCHEME.groups().items():
        for version in versions:
            digest = hashlib.sha256(openapi_v3(group, version) or b"").hexdigest()[:32].upper()
            path = path_of(group, version)
            paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return msgspec.json.encode({"paths": paths})


@functools.cache
def openapi_v3(group: str, version: str) -> bytes | None:
    """GET /openapi/v3/apis/G/V; None for what is not served."""
    resources = [r for r in SCHEME.resources if (r.group, r.version) == (group, version)]
    if not resources:
        return None
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for resource in resources:
        _add(descriptor_of(resource.type), schemas)
        name = schema_name(descriptor_of(resource.type))
        schemas[name]["x-kubernetes-group-version-kind"] = [_gvk(resource)]
        schemas[f"{name}List"] = _list_schema(resource, name, schemas)
        paths |= _paths(resource, name)
    for kind in ("DeleteOptions", "Status"):
        found = SCHEME.by_kind("v1", kind)
        if found is not None:
            _add(descriptor_of(found.type), schemas)
    document = {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.33.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    }
    return msgspec.json.encode(document)


def _gvk(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _list_schema(resource: Resource, item: str, schemas: dict[str, Any]) -> dict[str, Any]:
    from kubeapi.types import meta_v1

    metadata = descriptor_of(meta_v1.ListMeta)
    _add(metadata, schemas)
    return {
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": _ref(metadata),
            "items": {"type": "array", "items": {"$ref": f"#/components/schemas/{item}"}},
        },
        "x-kubernetes-group-version-kind": [_gvk(resource) | {"kind": f"{resource.kind}List"}],
    }


def _ref(message: Descriptor) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema_name(message)}"}


def _add(message: Descriptor, schemas: dict[str, Any]) -> None:
    name = schema_name(message)
    if name in schemas:
        return
    schemas[name] = schema = {"type": "object"}
    properties: dict[str, Any] = {}
    required = []
    if message.GetOptions().HasExtension(_kind_option()):
        properties |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    for info in fields_of(message).values():
        if info.message is not None:
            _add(info.message, schemas)
        properties[info.json_name] = _property(info)
        if info.required:
            required.append(info.json_name)
    if properties:
        schema["properties"] = properties  # type: ignore[assignment]
    if required:
        schema["required"] = required  # type: ignore[assignment]


def _kind_option() -> Any:
    from kubeapi.pb.sampan import schema_pb2

    return schema_pb2.DESCRIPTOR.extensions_by_name["kind"]


def _property(info: FieldInfo) -> dict[str, Any]:
    if info.message is not None:
        # explain and apply read default, description and extensions beside a reference, so it stands in allOf
        value: dict[str, Any] = _ref(info.message)
    elif info.scalar:
        value = dict(_SCALARS[info.scalar])
    else:
        field = info.descriptor
        if info.map and field.message_type is not None:
            field = field.message_type.fields_by_name["value"]
        value = dict(_WIRE[field.type])
        if info.one_of:
            value["enum"] = list(info.one_of)
    if info.map:
        made: dict[str, Any] = {"type": "object", "additionalProperties": value}
    elif info.repeated:
        made = {"type": "array", "items": value}
    else:
        made = {"allOf": [value]} if "$ref" in value and (info.patch_strategy or info.list_type) else value
    if info.patch_strategy:
        made["x-kubernetes-patch-strategy"] = ",".join(info.patch_strategy)
    if info.merge_key:
        made["x-kubernetes-patch-merge-key"] = info.merge_key
    if info.list_type:
        kind = "x-kubernetes-list-type" if info.repeated else "x-kubernetes-map-type"
        made[kind] = info.list_type
    if info.list_map_keys:
        made["x-kubernetes-list-map-keys"] = list(info.list_map_keys)
    return made


# ------------------------------------------------------------------ paths

_QUERY = ("pretty", "dryRun", "fieldManager", "fieldValidation")
_PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)


def _paths(resource: Resource, schema: str) -> dict[str, Any]:
    middle = "/namespaces/{namespace}" if resource.namespaced else ""
    root = f"/{path_of(resource.group, resource.version)}{middle}/{resource.plural}"
    body = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    parameters = [_parameter(name, "query") for name in _QUERY]
    patch = {"schema": {"type": "object"}}

    def operation(action: str, content: dict[str, Any] | None) -> dict[str, Any]:
        made: dict[str, Any] = {
            "operationId": f"{action}{resource.group.replace('.', '_')}{resource.version}{resource.kind}",
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "content": {"application/json": body}}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": _gvk(resource),
        }
        if content is not None:
            made["requestBody"] = {"content": content}
        return made

    shared = [_parameter("namespace", "path")] if resource.namespaced else []
    return {
        root: {
            "get": operation("list", None),
            "post": operation("post", {"application/json": body}),
            "parameters": shared,
        },
        f"{root}/{{name}}": {
            "get": operation("get", None),
            "put": operation("put", {"application/json": body}),
            "patch": operation("patch", {kind: patch for kind in _PATCH_TYPES}),
            "delete": operation("delete", None),
            "parameters": [_parameter("name", "path"), *shared],
        },
    }


def _parameter(name: str, where: str) -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "in": where, "schema": {"type": "string", "uniqueItems": True}}
    if where == "path":
        made["required"] = True
    return made
