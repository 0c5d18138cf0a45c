"""OpenAPI v2: complete, self-contained, and the same in both forms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kubeapi.openapi_v2 import as_json, as_protobuf, document


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (message[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not message[at - 1] & 0x80:
            return value, at


def fields(message: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at < len(message):
        tag, at = varint(message, at)
        size, at = varint(message, at)
        found.append((tag >> 3, message[at : at + size]))
        at += size
    return found


def test_every_reference_is_defined_and_nothing_of_v3_is_left() -> None:
    made = document()
    defined = {f"#/definitions/{name}" for name in made["definitions"]}
    assert set(references(made)) <= defined
    assert b'"oneOf":[' not in as_json() and b"#/components" not in as_json()
    pod = made["definitions"]["io.k8s.api.core.v1.Pod"]
    assert pod["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Pod"}]
    patch = made["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert {"dryRun", "fieldValidation"} <= {p["name"] for p in patch["parameters"]}


def test_the_protobuf_form_has_the_same_definitions() -> None:
    top = fields(as_protobuf())
    assert top[0] == (1, b"2.0")
    definitions = next(data for number, data in top if number == 9)
    names = [dict(fields(one))[1].decode() for _, one in fields(definitions)]
    assert names == list(document()["definitions"])
    pod = next(
        dict(fields(one))[2] for _, one in fields(definitions) if dict(fields(one))[1] == b"io.k8s.api.core.v1.Pod"
    )
    assert {number for number, _ in fields(pod)} == {22, 25, 31}  # type, properties, extensions
