"""JSONPath templates as kubectl has them: `{.items[*].metadata.name}`, `{range ...}{end}`, filters, slices.

    template   text { expression } text ...        text outside braces is printed as it is
    in braces  "quoted text" | path | path path    several paths one after another
    path       [@|$] .name | ['name'] | [n] | [a:b:c] | [a,b] | [*] | .* | ..name | [?(left op right)]
    range      {range path} ... {end}

Compiled once into steps, then applied to plain JSON values. Printing is kubectl's: several results of one path have
a blank between, strings stand bare, lists and objects as JSON, null as nothing.
"""

from __future__ import annotations

import re

from kubectl_lite.printing.jsonpath_steps import (
    Descent,
    Field,
    Filter,
    JsonPathError,
    Operand,
    Part,
    Path,
    Range,
    Slice,
    Step,
    Template,
    Text,
    Union,
    Wildcard,
    show,
)

__all__ = ["JsonPathError", "Template", "parse", "relaxed", "show"]

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
