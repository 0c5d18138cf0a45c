"""The fields of a kind as `explain` prints them, from an OpenAPI v3 document. Pure; the layout is kubectl's."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from kubectl_lite.errors import UsageError

Schema = dict[str, Any]
SHOWN_ENUM = 4
"""Values of a field that stand beside it; a field asked for by name shows all."""


class Document:
    def __init__(self, openapi: Schema) -> None:
        self._schemas: dict[str, Schema] = openapi.get("components", {}).get("schemas", {})

    @property
    def described(self) -> bool:
        """Whether anything in it has a description at all."""
        every = [
            *self._schemas.values(),
            *(p for s in self._schemas.values() for p in s.get("properties", {}).values()),
        ]
        return any(one.get("description") for one in every)

    def of_kind(self, group: str, version: str, kind: str) -> Schema | None:
        wanted = {"group": group, "version": version, "kind": kind}
        for schema in self._schemas.values():
            if wanted in schema.get("x-kubernetes-group-version-kind", []) and "properties" in schema:
                return schema
        return None

    def resolved(self, schema: Schema) -> Schema:
        """What a reference stands for."""
        reference = _reference(schema)
        return self._schemas.get(reference, {}) if reference else schema

    def inner(self, schema: Schema) -> Schema:
        """What has the fields: of a list or a map its elements, however deep."""
        found = self.resolved(schema)
        while True:
            deeper = found.get("items") or found.get("additionalProperties")
            if not isinstance(deeper, dict):
                return found
            found = self.resolved(deeper)


def _reference(schema: Schema) -> str:
    for one in (schema, *schema.get("allOf", [])):
        if "$ref" in one:
            return str(one["$ref"]).rpartition("/")[2]
    return ""


def type_name(schema: Schema) -> str:
    """`string`, `[]Container`, `map[string]string`, `PodSpec`."""
    if reference := _reference(schema):
        return reference.rpartition(".")[2]
    if "items" in schema:
        return f"[]{type_name(schema['items'])}"
    if isinstance(more := schema.get("additionalProperties"), dict):
        return f"map[string]{type_name(more)}"
    found = schema.get("type", "")
    return found if found not in ("", "object") else "Object"


def explained(
    document: Document, root: Schema, path: Sequence[str], *, kind: Sequence[str], recursive: bool
) -> Iterator[str]:
    """`kind` is group, version and kind. Raises UsageError for a field that there is not."""
    group, version, name = kind
    field, schema = "", root
    for step in path:
        inside = document.inner(schema)
        fields = inside.get("properties", {})
        if step not in fields:
            there = ", ".join(sorted(fields)) if fields else f"no fields: it is {_article(type_name(schema))}"
            raise UsageError(f'field "{step}" does not exist\n{field or name} has {there}')
        field, schema = step, fields[step]
    if group:
        yield f"GROUP:      {group}"
    yield f"KIND:       {name}"
    yield f"VERSION:    {version}"
    yield ""
    if field:
        yield f"FIELD: {field} <{type_name(schema)}>"
        values = _values(schema)
        yield from ["ENUM:", *(f"    {value}" for value in values), ""] if values else ["", ""]
    yield "DESCRIPTION:"
    inside = document.inner(schema)
    text = schema.get("description") or inside.get("description")
    yield from [*_wrapped(text, 4), "    "] if text else ["    <empty>"]
    if "properties" in inside:
        yield "FIELDS:"
        yield from _fields(document, inside, 1, recursive, ())
    yield ""


def _article(word: str) -> str:
    return f"{'an' if word[:1].lower() in 'aeiou' else 'a'} {word}"


def _values(schema: Schema) -> list[str]:
    return [str(value) for value in schema.get("enum") or []]


def _wrapped(text: str, indent: int) -> list[str]:
    blank = " " * indent
    return [
        line
        for paragraph in text.split("\n")
        for line in textwrap.wrap(paragraph, 80, initial_indent=blank, subsequent_indent=blank) or [""]
    ]


def _fields(document: Document, schema: Schema, level: int, recursive: bool, above: tuple[str, ...]) -> Iterator[str]:
    """`above` are the types that we are inside of: one that contains itself is not opened again."""
    blank = "  " * level
    for name, field in sorted(schema.get("properties", {}).items()):
        needed = " -required-" if name in schema.get("required", []) else ""
        yield f"{blank}{name}\t<{type_name(field)}>{needed}"
        if values := _values(field):
            yield f"{blank}enum: {', '.join(values[:SHOWN_ENUM])}{', ....' if len(values) > SHOWN_ENUM else ''}"
        if not recursive:
            text = field.get("description") or document.inner(field).get("description")
            yield from [*(_wrapped(text, 4) if text else ["    <no description>"]), ""]
            continue
        type_ = type_name(field).replace("[]", "").replace("map[string]", "")
        if type_ not in above:
            yield from _fields(document, document.inner(field), level + 1, True, (*above, type_))
