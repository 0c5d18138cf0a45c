"""JSONPath templates as kubectl has them: `{.items[*].metadata.name}`, `{range ...}{end}`, filters, slices.

    template   text { expression } text ...        text outside braces is printed as it is
    in braces  "quoted text" | path | path path    several paths one after another
    path       [@|$] .name | ['name'] | [n] | [a:b:c] | [a,b] | [*] | .* | ..name | [?(left op right)]
    range      {range path} ... {end}

Compiled once into steps, then applied to plain JSON values. Printing is kubectl's: several results of one path have
a blank between, strings stand bare, lists and objects as JSON, null as nothing.
"""

from __future__ import annotations

import json
import re
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


# ------------------------------------------------------------------ reading

_NAME = re.compile(r"(?:\\.|[^\s{}\[\]().,'\"=!<>?@$*:|\\])+")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_SLICE = re.compile(r"\s*(-?\d+)?\s*(:)?\s*(-?\d+)?\s*(:)?\s*(-?\d+)?\s*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "0": "\0", "/": "/"}


def parse(template: str) -> Template:
    """Raises JsonPathError."""
    reader = _Reader(template)
    parts = reader.parts(nested=False)
    return Template(tuple(parts))


def relaxed(expression: str) -> str:
    """`x.y`, `.x.y` and `{.x.y}` are the same in custom-columns, --sort-by and wait."""
    text = expression.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$")
    return "{" + (text if text.startswith((".", "[", "@")) else f".{text}") + "}"


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        """Ranges that are open: a path in one starts at its element."""

    def fault(self, why: str) -> JsonPathError:
        return JsonPathError(f"jsonpath {self.text!r}, column {self.at + 1}: {why}")

    def peek(self, ahead: int = 0) -> str:
        return self.text[self.at + ahead : self.at + ahead + 1]

    def skip(self) -> None:
        while self.peek().isspace():
            self.at += 1

    def parts(self, *, nested: bool) -> list[Part]:
        found: list[Part] = []
        while self.at < len(self.text):
            opening = self.text.find("{", self.at)
            if opening < 0:
                opening = len(self.text)
            if opening > self.at:
                found.append(Text(self.text[self.at : opening]))
            self.at = opening + 1
            if opening == len(self.text):
                break
            if self._braces(found):
                if not nested:
                    raise self.fault("{end} without {range}")
                return found
        if nested:
            raise self.fault("unterminated {range}: write {end}")
        return found

    def _braces(self, found: list[Part]) -> bool:
        """Reads up to the closing brace. True for {end}."""
        while True:
            self.skip()
            char = self.peek()
            if char == "":
                raise self.fault("unclosed action: a } is missing")
            if char == "}":
                self.at += 1
                return False
            if char in "\"'":
                found.append(Text(self.quoted()))
            elif self._word("end"):
                self.skip()
                if self.peek() != "}":
                    raise self.fault("{end} stands alone in its braces")
                self.at += 1
                return True
            elif self._word("range"):
                self.skip()
                path = self.path()
                self.skip()
                if self.peek() != "}":
                    raise self.fault("{range PATH} has one path")
                self.at += 1
                self.depth += 1
                body = self.parts(nested=True)
                self.depth -= 1
                found.append(Range(path, tuple(body)))
                return False
            elif number := _NUMBER.match(self.text, self.at):
                self.at = number.end()
                found.append(Text(number.group()))
            else:
                found.append(self.path())

    def _word(self, word: str) -> bool:
        if self.text.startswith(word, self.at) and not re.match(r"[\w.\[]", self.peek(len(word)) or " "):
            self.at += len(word)
            return True
        return False

    def quoted(self) -> str:
        quote = self.peek()
        self.at += 1
        made = []
        while (char := self.peek()) != quote:
            if char == "":
                raise self.fault("unterminated quoted string")
            if char == "\\":
                self.at += 1
                made.append(_ESCAPES.get(self.peek(), "\\" + self.peek()))
            else:
                made.append(char)
            self.at += 1
        self.at += 1
        return "".join(made)

    def path(self) -> Path:
        absolute = self.depth == 0
        if self.peek() in "$@":
            absolute = self.peek() == "$" or self.depth == 0
            self.at += 1
        elif self.peek() not in (".", "["):
            match = _NAME.match(self.text, self.at)
            if match is None:
                raise self.fault(f"unexpected {self.peek()!r}")
            self.at = match.end()
            first = Field(_unescaped(match.group()))
            return Path((first, *self.steps()), absolute)
        return Path(tuple(self.steps()), absolute)

    def steps(self) -> list[Step]:
        found: list[Step] = []
        while (char := self.peek()) in (".", "["):
            if char == "[":
                found.append(self.bracket())
                continue
            self.at += 1
            if self.peek() == ".":
                self.at += 1
                found.append(Descent())
                if self.peek() == "[":
                    continue
            if self.peek() == "*":
                self.at += 1
                found.append(Wildcard())
            elif match := _NAME.match(self.text, self.at):
                self.at = match.end()
                found.append(Field(_unescaped(match.group())))
            elif self.peek() in ("'", '"'):
                found.append(Field(self.quoted()))
            elif self.peek() == "[":
                continue
            elif found and isinstance(found[-1], Descent):
                raise self.fault("a name must follow ..")
            else:
                return found
        return found

    def bracket(self) -> Step:
        self.at += 1
        self.skip()
        if self.peek() == "?":
            return self.filter()
        if self.peek() == "*":
            self.at += 1
            self.close("]")
            return Wildcard()
        options: list[tuple[Step, ...]] = []
        while True:
            options.append(self.option())
            self.skip()
            if self.peek() == ",":
                self.at += 1
                self.skip()
                continue
            self.close("]")
            break
        if len(options) == 1 and len(options[0]) == 1:
            return options[0][0]
        return Union(tuple(options))

    def option(self) -> tuple[Step, ...]:
        if self.peek() in ("'", '"'):
            return (Field(self.quoted()),)
        if self.peek() in (".", "@"):
            if self.peek() == "@":
                self.at += 1
            return tuple(self.steps())
        match = _SLICE.match(self.text, self.at)
        if match is not None and match.group(0).strip():
            self.at = match.end()
            start, colon, end, _, step = match.groups()
            number = [int(n) if n is not None else None for n in (start, end, step)]
            return (Slice(number[0], number[1], number[2], index=colon is None),)
        if name := _NAME.match(self.text, self.at):
            self.at = name.end()
            return (Field(_unescaped(name.group())), *self.steps())
        raise self.fault("invalid array index")

    def filter(self) -> Filter:
        self.at += 1
        self.skip()
        self.close("(")
        left = self.operand()
        self.skip()
        operator = next((o for o in ("==", "!=", "<=", ">=", "<", ">") if self.text.startswith(o, self.at)), "")
        right = None
        if operator:
            self.at += len(operator)
            right = self.operand()
        elif self.text.startswith(("&&", "||", "=~"), self.at):
            raise self.fault("a filter is one comparison: &&, || and =~ are not supported")
        self.skip()
        self.close(")")
        self.skip()
        self.close("]")
        return Filter(left, operator, right)

    def operand(self) -> Operand:
        self.skip()
        if self.peek() in ("'", '"'):
            return Operand(literal=self.quoted(), is_literal=True)
        if number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            text = number.group()
            return Operand(literal=float(text) if "." in text else int(text), is_literal=True)
        for word, value in (("true", True), ("false", False)):
            if self._word(word):
                return Operand(literal=value, is_literal=True)
        if self.peek() in ("@", "$"):
            absolute = self.peek() == "$"
            self.at += 1
            return Operand(steps=tuple(self.steps()), absolute=absolute)
        if self.peek() == ".":
            return Operand(steps=tuple(self.steps()))
        raise self.fault("a filter compares @.path with a value: [?(@.name=='web')]")

    def close(self, char: str) -> None:
        if self.peek() != char:
            raise self.fault(f"{char!r} is missing")
        self.at += 1


def _unescaped(name: str) -> str:
    return re.sub(r"\\(.)", r"\1", name)
