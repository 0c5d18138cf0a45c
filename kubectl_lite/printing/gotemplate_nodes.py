"""What a Go template is once it has been read. A node knows where it stood and how text/template would print it, for errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class TemplateError(ValueError):
    """The template is wrong, or does not fit the object; as text/template words it."""


class _Nil:
    """The word nil, which is a value only where something else is compared with it."""


NIL = _Nil()


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    at: int
    line: int

    def __str__(self) -> str:
        if self.kind == "EOF":
            return "EOF"
        if self.text in ("if", "else", "end", "range", "with", "break", "continue"):
            return f"<{self.text}>"
        short = self.text if len(self.text) <= 10 else self.text[:10]
        quoted = '"' + short.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
        return quoted if len(self.text) <= 10 else f"{quoted}..."


@dataclass(frozen=True, slots=True)
class Node:
    at: int
    source: str


@dataclass(frozen=True, slots=True)
class Text(Node):
    text: str


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A number, a string, true, false or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Dot(Node):
    pass


@dataclass(frozen=True, slots=True)
class Field(Node):
    names: list[str]


@dataclass(frozen=True, slots=True)
class Variable(Node):
    name: str
    names: list[str]


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """Fields of a value in parentheses, or of a function's."""

    of: Node
    names: list[str]


@dataclass(frozen=True, slots=True)
class Identifier(Node):
    """A function; its source is its name."""


@dataclass(frozen=True, slots=True)
class Command(Node):
    args: list[Node]


@dataclass(frozen=True, slots=True)
class Pipe(Node):
    names: list[str]
    """Variables that it sets."""
    assigns: bool
    """To variables that were there, by `=`."""
    commands: list[Command]


@dataclass(frozen=True, slots=True)
class Action(Node):
    pipe: Pipe


@dataclass(frozen=True, slots=True)
class Block(Node):
    """if or with."""

    word: str
    pipe: Pipe
    body: list[Node]
    otherwise: list[Node] | None


@dataclass(frozen=True, slots=True)
class Range(Block):
    pass


@dataclass(frozen=True, slots=True)
class Jump(Node):
    word: str
    """break or continue."""
