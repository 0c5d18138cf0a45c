"""Objects with odd values: made up whole from the schema, or faultless ones with a few values changed."""

from __future__ import annotations

import copy
from pathlib import Path
from random import Random
from typing import Any

import yaml

from kubeapi.schema import FieldInfo, descriptor_of, fields_of
from kubeapi.scheme import SCHEME, Resource

ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, -(2**63), 2**64, 0.5, 1e308, "", "a", "A_b", "é", "a/b", "x" * 300, "\u0000", "-1", "1Gi", "1e99999",
    "9" * 30, "2026-01-01T00:00:00.5+02:00", "0001-01-01T00:00:00+14:00", "10.96.0.1", "None", "Always", "ClusterIP", "NodePort",
    "50%", "101%", [], {}, [None], {"a": None}, {"$patch": "replace"}, [[]], {"": ""}, "* * * * *",
]  # fmt: skip
FITTING: dict[str, list[Any]] = {
    "time": ["2026-01-01T00:00:00Z"],
    "microtime": ["2026-01-01T00:00:00.000000Z"],
    "duration": ["10s"],
    "quantity": ["1", "100m", "1Gi"],
    "int_or_string": [1, 80, "50%", "http"],
    "raw": [{}, {"a": 1}],
}


class Maker:
    """Objects of any kind, with a share of values that do not fit their field."""

    def __init__(self, rng: Random) -> None:
        self.rng = rng
        self.odd = rng.choice([0.0, 0.0, 0.01, 0.05, 0.15])
        self.odd_scalar = rng.choice([0.0, 0.05, 0.3])

    def value(self, info: FieldInfo, depth: int) -> Any:
        if self.rng.random() < self.odd:
            return self.rng.choice(ODD)
        if info.map:
            return {
                self.rng.choice(["a", "app", "x/y", "cpu"]): self.one(info, depth) for _ in range(self.rng.randrange(3))
            }
        return [self.one(info, depth) for _ in range(self.rng.randrange(3))] if info.repeated else self.one(info, depth)

    def one(self, info: FieldInfo, depth: int) -> Any:
        rng = self.rng
        if info.message is not None and not info.scalar:
            return self.body(info.message, depth + 1)
        if rng.random() < self.odd_scalar:
            return rng.choice(ODD)
        if info.scalar:
            return rng.choice(FITTING.get(info.scalar, ODD))
        if info.one_of:
            return rng.choice(info.one_of)
        field = info.descriptor
        if info.map and field.message_type is not None:
            field = field.message_type.fields_by_name["value"]
        if field.cpp_type == field.CPPTYPE_BOOL:
            return rng.choice([True, False])
        if field.cpp_type == field.CPPTYPE_STRING:
            return rng.choice(["a", "web", "b-c", "RollingUpdate", "In", "Exists", "Always", "10.96.9.9", "TCP", "/a"])
        return rng.choice([0, 1, 80, 30100])

    def body(self, message: Any, depth: int = 0) -> dict[str, Any]:
        infos = list(fields_of(message).values())
        share = 0.6 if depth < 2 else min(1.0, (7 - depth) / max(1, len(infos)))
        return {
            i.json_name: self.value(i, depth)
            for i in infos
            if depth < 7
            and (i.required or self.rng.random() < share or i.json_name in ("template", "spec", "containers"))
        }


def object_of(resource: Resource, rng: Random) -> dict[str, Any]:
    maker = Maker(rng)
    made = maker.body(descriptor_of(resource.type))
    made |= {"kind": resource.kind, "apiVersion": resource.api_version}
    labels = {"metadata": {"labels": {"a": "b"}}}
    spec = made.get("spec")
    if isinstance(spec, dict) and isinstance(spec.get("template"), dict) and rng.random() < 0.8:
        spec["selector"] = {"matchLabels": {"a": "b"}}
        spec["template"] |= labels
    extra = made.get("metadata")
    strange = extra if isinstance(extra, dict) and rng.random() < 0.2 else {}
    made["metadata"] = {**strange, "name": rng.choice(["a", "b", "10.96.3.4", "x:y"])}
    return made


SPECIMENS: list[dict[str, Any]] = yaml.safe_load((Path(__file__).parent / "specimens.yaml").read_text())
_COUNTS = ("replicas", "parallelism", "completions")
_KEPT = ("kind", "apiVersion", "name", "namespace", "deletionTimestamp")
"""Fields of any message that stay as they are: what an object is, and who refers to whom."""


def resource_of(obj: dict[str, Any]) -> Resource:
    return next(r for r in SCHEME.resources if (r.api_version, r.kind) == (obj["apiVersion"], obj["kind"]))


def nearly_right(rng: Random) -> dict[str, Any]:
    """A specimen, and up to three values in it (or in its status) that may be anything."""
    made = copy.deepcopy(rng.choice(SPECIMENS))
    if made["metadata"]["name"] == "NAME":
        made["metadata"]["name"] = rng.choice("abcdef")
    disturb(made, descriptor_of(resource_of(made).type), rng)
    return made


def disturb(obj: dict[str, Any], message: Any, rng: Random) -> None:
    maker = Maker(rng)
    maker.odd = rng.choice([0.0, 0.0, 0.05])
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        here, inside = _anywhere(obj, message, rng)
        infos = [info for info in fields_of(inside).values() if info.json_name not in _KEPT]
        if not infos:
            continue
        info = rng.choice(infos)
        if info.json_name == "metadata":
            continue
        if rng.random() < 0.15:
            here.pop(info.json_name, None)
        else:
            here[info.json_name] = maker.value(info, 4)
    _keep_small(obj)


def _anywhere(obj: dict[str, Any], message: Any, rng: Random) -> tuple[dict[str, Any], Any]:
    """One of the messages in it, with its type."""
    while True:
        infos = {info.json_name: info for info in fields_of(message).values()}
        below: list[tuple[dict[str, Any], Any]] = []
        for name, value in obj.items():
            info = infos.get(name)
            if info is None or info.message is None or info.map:
                continue
            values = value if isinstance(value, list) else [value]
            below += [(one, info.message) for one in values if isinstance(one, dict)]
        if not below or rng.random() < 0.25:
            return obj, message
        obj, message = rng.choice(below)


def _keep_small(value: Any) -> None:
    """Ten thousands of pods are another test's matter."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _COUNTS and isinstance(inner, int) and inner > 5:
                value[key] = inner % 5
            _keep_small(value[key])
    elif isinstance(value, list):
        for inner in value:
            _keep_small(inner)
