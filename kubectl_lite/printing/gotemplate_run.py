"""A Go template applied to an object: plain JSON values in, text out.

A key that is not there gives MISSING, and so does every field of it; it is printed as <no value>. Where text/template keeps an
interface apart from what is in it, only its messages show it: `bare` says that a value has been taken out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kubectl_lite.printing import gotemplate
from kubectl_lite.printing.gotemplate_functions import (
    FUNCTIONS,
    MISSING,
    CallError,
    Int64,
    quoted,
    show,
    truth,
    type_of,
)
from kubectl_lite.printing.gotemplate_nodes import (
    NIL,
    Action,
    Block,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Identifier,
    Jump,
    Node,
    Pipe,
    Range,
    TemplateError,
    Text,
    Variable,
)

NONE = object()
"""No final argument: the first command of a pipeline."""


class Failure(TemplateError):
    """While it was applied: what had been written by then, and what kubectl writes after it."""

    def __init__(self, why: str, written: str) -> None:
        super().__init__(why)
        self.written = written


def compiled(template: str) -> Callable[[Any], str]:
    """Raises TemplateError. What it returns raises Failure."""
    nodes = gotemplate.parse(template)

    def render(obj: Any) -> str:
        data = _as_go(obj)
        run = _Run(template, data)
        try:
            run.walk(data, True, nodes)
        except TemplateError as error:
            raw = json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
            for char, code in (
                ("<", "\\u003c"),
                (">", "\\u003e"),
                ("&", "\\u0026"),
                ("\u2028", "\\u2028"),
                ("\u2029", "\\u2029"),
            ):
                raw = raw.replace(char, code)
            dump = (
                f"Error executing template: {error}. Printing more information for debugging the template:\n"
                f"\ttemplate was:\n\t\t{template}\n\traw data was:\n\t\t{raw}\n"
                f"\tobject given to template engine was:\n\t\t{show(data)}\n\n"
            )
            why = f"error executing template {quoted(template)}: {error}"
            raise Failure(why, "".join(run.out) + dump) from error
        return "".join(run.out)

    return render


def _as_go(value: Any) -> Any:
    """Whole numbers are int64 in objects, and int in templates."""
    if isinstance(value, dict):
        return {key: _as_go(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_go(one) for one in value]
    return Int64(value) if isinstance(value, int) and not isinstance(value, bool) else value


class _Leave(Exception):
    """By break or continue."""

    def __init__(self, word: str) -> None:
        self.word = word


class _Run:
    def __init__(self, template: str, data: Any) -> None:
        self.out: list[str] = []
        self._template = template
        self._variables: list[tuple[str, Any, bool]] = [("$", data, True)]
        """Name, value, whether it is bare. The last of a name counts."""
        self._at: Node = Dot(0, ".")

    def fault(self, why: str) -> TemplateError:
        before = self._template[: self._at.at].encode()
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1)
        return TemplateError(f'template: output:{line}:{column}: executing "output" at <{self._at.source}>: {why}')

    # ------------------------------------------------------------------ nodes

    def walk(self, dot: Any, bare: bool, nodes: list[Node]) -> None:
        for node in nodes:
            self._at = node
            match node:
                case Text():
                    self.out.append(node.text)
                case Action():
                    value = self.pipe(dot, bare, node.pipe)
                    if not node.pipe.names:
                        self._at = node
                        self.out.append("<no value>" if value is MISSING else show(value))
                case Jump():
                    raise _Leave(node.word)
                case Range():
                    self._range(dot, bare, node)
                case Block():
                    known = len(self._variables)
                    value = self.pipe(dot, bare, node.pipe)
                    inner = (value, True) if node.word == "with" else (dot, bare)
                    if truth(value):
                        self.walk(*inner, node.body)
                    elif node.otherwise is not None:
                        self.walk(dot, bare, node.otherwise)
                    del self._variables[known:]

    def _range(self, dot: Any, bare: bool, node: Range) -> None:
        known = len(self._variables)
        value = self.pipe(dot, bare, node.pipe)
        pairs: list[tuple[Any, Any]]
        if isinstance(value, list):
            pairs = list(enumerate(value))
        elif isinstance(value, dict):
            pairs = sorted(value.items())
        elif isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipe.names) > 1:
                raise self.fault(f"can't use {value} to iterate over more than one variable")
            pairs = [(number, number) for number in range(value)]
        elif value is MISSING:
            pairs = []
        else:
            raise self.fault(f"range can't iterate over {show(value)}")
        mark = len(self._variables)
        for key, one in pairs:
            self._bind(node.pipe, key, one)
            try:
                self.walk(one, isinstance(value, int), node.body)
            except _Leave as leaving:
                if leaving.word == "break":
                    break
            finally:
                del self._variables[mark:]
        del self._variables[known:]
        if not pairs and node.otherwise is not None:
            self.walk(dot, bare, node.otherwise)

    def _bind(self, pipe: Pipe, key: Any, one: Any) -> None:
        values = [(one, False)] if len(pipe.names) == 1 else [(key, True), (one, False)]
        for name, (value, bare) in zip(pipe.names, values, strict=False):
            self._set(name, value, bare, assigns=pipe.assigns)

    def _set(self, name: str, value: Any, bare: bool, *, assigns: bool) -> None:
        if assigns:
            at = max(i for i, (known, _, _) in enumerate(self._variables) if known == name)
            self._variables[at] = (name, value, bare)
        else:
            self._variables.append((name, value, bare))

    # ------------------------------------------------------------------ values

    def pipe(self, dot: Any, bare: bool, pipe: Pipe) -> Any:
        """Never None: what is null is as good as missing from here on."""
        self._at = pipe
        value: Any = NONE
        for command in pipe.commands:
            value = self.command(dot, bare, command, value)
            if value is None:
                value = MISSING
        for name in pipe.names[-1:]:
            self._set(name, value, True, assigns=pipe.assigns)
        return value

    def command(self, dot: Any, bare: bool, command: Command, final: Any) -> Any:
        first = command.args[0]
        alone = len(command.args) == 1 and final is NONE
        match first:
            case Identifier():
                return self.call(dot, bare, first, command, command.args[1:], final)
            case Field() | Chain():
                return self.value(dot, bare, first, alone=alone)
            case Variable() if first.names:
                return self.value(dot, bare, first, alone=alone)
        if not isinstance(first, Pipe):
            self._at = first
        if not alone:
            raise self.fault(f"can't give argument to non-function {first.source}")
        if isinstance(first, Constant) and first.value is NIL:
            raise self.fault("nil is not a command")
        return self.value(dot, bare, first)

    def value(self, dot: Any, bare: bool, node: Node, *, alone: bool = True) -> Any:
        match node:
            case Constant():
                return None if node.value is NIL else node.value
            case Dot():
                return dot
            case Field():
                self._at = node
                return self.fields(dot, bare, node.names, alone)
            case Variable():
                self._at = node
                _, found, plain = next(v for v in reversed(self._variables) if v[0] == node.name)
                return self.fields(found, plain, node.names, alone)
            case Chain():
                self._at = node
                found = self.value(dot, bare, node.of)
                return self.fields(found, True, node.names, alone)
            case Pipe():
                return self.pipe(dot, bare, node)
            case Identifier():
                return self.call(dot, bare, node, node, [], NONE)
        raise AssertionError(node)

    def fields(self, value: Any, bare: bool, names: list[str], alone: bool) -> Any:
        for number, name in enumerate(names):
            if value is MISSING:
                continue
            kind = type_of(value) if bare and value is not None else "interface {}"
            if value is None:
                raise self.fault(f"nil pointer evaluating {kind}.{name}")
            if not isinstance(value, dict):
                raise self.fault(f"can't evaluate field {name} in type {kind}")
            if number == len(names) - 1 and not alone:
                raise self.fault(f"{name} is not a method but has arguments")
            value, bare = value.get(name, MISSING), False
        return value

    # ------------------------------------------------------------------ functions

    def call(self, dot: Any, bare: bool, name: Node, where: Node, args: list[Node], final: Any) -> Any:
        self._at = name
        if name.source in ("and", "or"):
            return self._junction(dot, bare, name.source, args, final)
        function, takes, more = FUNCTIONS[name.source]
        given = len(args) + (final is not NONE)
        fixed = len(takes) - 1 if more else len(takes)
        if more and given < fixed:
            raise self.fault(f"wrong number of args for {name.source}: want at least {fixed} got {len(args)}")
        if not more and given != fixed:
            raise self.fault(f"wrong number of args for {name.source}: want {fixed} got {given}")
        wanted = [takes[min(number, len(takes) - 1)] for number in range(given)]
        values = [self.argument(dot, bare, arg, want) for arg, want in zip(args, wanted, strict=False)]
        if final is not NONE:
            values.append(self.fitting(final, wanted[-1]))
        try:
            return function(*values)
        except CallError as error:
            self._at = where
            raise self.fault(f"error calling {name.source}: {error}") from error

    def _junction(self, dot: Any, bare: bool, word: str, args: list[Node], final: Any) -> Any:
        if not args and final is NONE:
            raise self.fault(f"wrong number of args for {word}: want at least 1 got 0")
        value: Any = None
        for arg in args:
            value = self.argument(dot, bare, arg, "any")
            if truth(value) == (word == "or"):
                return value
        return value if final is NONE else self.fitting(final, "any")

    def argument(self, dot: Any, bare: bool, node: Node, want: str) -> Any:
        self._at = node
        if isinstance(node, Constant) and want == "string" and not isinstance(node.value, str):
            if node.value is NIL:
                raise self.fault("cannot assign nil to string")
            raise self.fault(f"expected string; found {node.source}")
        return self.fitting(self.value(dot, bare, node), want)

    def fitting(self, value: Any, want: str) -> Any:
        if value is MISSING or value is None:
            if want == "string":
                raise self.fault("invalid value; expected string")
            return None
        if want == "string" and not isinstance(value, str):
            raise self.fault(f"wrong type for value; expected string; got {type_of(value)}")
        return value
