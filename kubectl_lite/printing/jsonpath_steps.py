"""What a JSONPath template is once it has been read, and how it is applied to plain JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


class JsonPathError(ValueError):
    """The template is wrong, or does not fit the object."""


@dataclass(frozen=True, slots=True)
class Field:
    name: str


@dataclass(frozen=True, slots=True)
class Slice:
    """`[n]` is an index: what is not there is an error then."""

    start: int | None
    end: int | None
    step: int | None
    index: bool = False


@dataclass(frozen=True, slots=True)
class Wildcard:
    pass


@dataclass(frozen=True, slots=True)
class Descent:
    """`..`: the value and all below it."""


@dataclass(frozen=True, slots=True)
class Union:
    paths: tuple[tuple[Step, ...], ...]


@dataclass(frozen=True, slots=True)
class Filter:
    left: Operand
    operator: str
    """Empty: the left side must exist."""
    right: Operand | None


@dataclass(frozen=True, slots=True)
class Operand:
    steps: tuple[Step, ...] = ()
    literal: Any = None
    is_literal: bool = False
    absolute: bool = False


Step = Field | Slice | Wildcard | Descent | Union | Filter


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Path:
    steps: tuple[Step, ...]
    absolute: bool
    """`$` or nothing in front outside a range: from the root, not from the range's element."""


@dataclass(frozen=True, slots=True)
class Range:
    path: Path
    body: tuple[Part, ...]


Part = Text | Path | Range


@dataclass(frozen=True, slots=True)
class Template:
    parts: tuple[Part, ...]

    def render(self, value: Any, *, missing: str | None = "") -> str:
        """Raises JsonPathError for a key that is not there when `missing` is None."""
        return "".join(_render(self.parts, value, value, missing))

    def results(self, value: Any, *, missing: str | None = "") -> list[Any]:
        """All values that the paths find, in order."""
        found: list[Any] = []
        for part in self.parts:
            if isinstance(part, Path):
                found += find(part.steps, value, value, strict=missing is None)
        return found


def _render(parts: Sequence[Part], current: Any, root: Any, missing: str | None) -> Iterator[str]:
    for part in parts:
        if isinstance(part, Text):
            yield part.text
        elif isinstance(part, Path):
            start = root if part.absolute else current
            yield " ".join(show(v) for v in find(part.steps, start, root, strict=missing is None))
        else:
            start = root if part.path.absolute else current
            for element in find(part.path.steps, start, root, strict=missing is None):
                yield from _render(part.body, element, root, missing)


def show(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return str(value)


# ------------------------------------------------------------------ applying


def find(steps: Sequence[Step], value: Any, root: Any, *, strict: bool) -> list[Any]:
    found = [value]
    for step in steps:
        found = [inner for one in found for inner in _step(step, one, root, strict)]
    return found


def _step(step: Step, value: Any, root: Any, strict: bool) -> list[Any]:
    match step:
        case Field(name):
            if isinstance(value, dict) and name in value:
                return [value[name]]
            if strict and isinstance(value, dict):
                raise JsonPathError(f"{name} is not found")
            return []
        case Wildcard():
            return list(value.values()) if isinstance(value, dict) else list(value) if isinstance(value, list) else []
        case Slice():
            return _slice(step, value)
        case Descent():
            return list(_below(value))
        case Union(paths):
            return [inner for path in paths for inner in find(path, value, root, strict=strict)]
        case Filter():
            if not isinstance(value, list):
                return [value] if isinstance(value, dict) and _holds(step, value, root) else []
            return [one for one in value if _holds(step, one, root)]


def _slice(step: Slice, value: Any) -> list[Any]:
    if not isinstance(value, list):
        if isinstance(value, dict) and step.index:
            key = str(step.start)
            return [value[key]] if key in value else []
        if value is None:
            return []
        raise JsonPathError(f"{show(value)} is not array or slice")
    if step.index:
        at = step.start or 0
        if not -len(value) <= at < len(value):
            raise JsonPathError(f"array index out of bounds: index {at}, length {len(value)}")
        return [value[at]]
    if (step.step or 1) <= 0:
        raise JsonPathError("step must be > 0")
    return list(value[step.start : step.end : step.step])


def _below(value: Any) -> Iterator[Any]:
    yield value
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        if isinstance(child, dict | list):
            yield from _below(child)


def _holds(step: Filter, value: Any, root: Any) -> bool:
    left = _operand(step.left, value, root)
    if step.right is None:
        return bool(left)
    right = _operand(step.right, value, root)
    if not left or not right:
        return False
    if len(left) > 1 or len(right) > 1:
        raise JsonPathError("a filter can only compare one element with one")
    return _compare(left[0], step.operator, right[0])


def _operand(operand: Operand, value: Any, root: Any) -> list[Any]:
    if operand.is_literal:
        return [operand.literal]
    return find(operand.steps, root if operand.absolute else value, root, strict=False)


def _compare(left: Any, operator: str, right: Any) -> bool:
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (left, right))
    if operator in ("==", "!="):
        same = (type(left) is type(right) and left == right) or (numbers and left == right)
        return same == (operator == "==")
    if not numbers and not (isinstance(left, str) and isinstance(right, str)):
        return False
    return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
