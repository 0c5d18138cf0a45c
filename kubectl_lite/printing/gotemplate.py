"""Go templates, as far as people use them with kubectl: `{{range .items}}{{.metadata.name}}{{"\\n"}}{{end}}`.

    text ──lex──► tokens ──read──► nodes (gotemplate_nodes) ──run──► text (gotemplate_run, gotemplate_functions)

There are fields, variables, pipelines, parentheses, range/else, if/else if, with/else with, break, continue, comments, trimming of
blanks, and the functions of gotemplate_functions. Definitions of templates are not: they are refused by name. Errors are
worded and placed as text/template words and places them, since that is what its users look up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kubectl_lite.printing.gotemplate_functions import ABSENT, NAMES, quoted
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
    Token,
    Variable,
)

__all__ = ["TemplateError", "parse"]

_KEYWORDS = {"if", "else", "end", "range", "with", "break", "continue", "define", "template", "block"}
_UNSUPPORTED = {"define", "template", "block"}
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_WORD = re.compile(r"[^\W\d]\w*")
_TOKENS = (
    ("space", re.compile(r"[ \t\r\n]+")),
    ("string", re.compile(r'"(?:\\.|[^"\\\n])*"')),
    ("raw", re.compile(r"`[^`]*`")),
    ("char", re.compile(r"'(?:\\.|[^'\\\n])+'")),
    ("number", re.compile(r"[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO]?[0-7_]+(?![.\deE])|0[bB][01_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")),
    ("variable", re.compile(r"\$\w*")),
    ("field", re.compile(r"\.[^\W\d]\w*")),
    ("dot", re.compile(r"\.")),
    ("word", _WORD),
    (":=", re.compile(":=")),
    ("sign", re.compile(r"[=|,()]")),
)  # fmt: skip
_BEGINS = {"word", "dot", "variable", "field", "number", "string", "raw", "char", "("}
"""Tokens that a command can begin with."""
_ENDS_WORD = re.compile(r"[\s.,|:=()]|$|-?\}\}")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))")


def parse(text: str) -> list[Node]:
    """Raises TemplateError."""
    try:
        return _Reader(text).whole()
    except RecursionError:
        raise _fault(1, "blocks or parentheses stand too deep in one another") from None


def _tokens(text: str) -> Iterator[Token]:
    """Text between the braces, and what is in them between `{{` and `}}`. Raises TemplateError."""
    at, line, trim = 0, 1, False
    while True:
        opening = text.find("{{", at)
        end = len(text) if opening < 0 else opening
        plain = text[at:end]
        trims_before = (
            opening >= 0 and text[opening + 2 : opening + 3] == "-" and text[opening + 3 : opening + 4].isspace()
        )
        shown = plain.lstrip(" \t\r\n") if trim else plain
        shown = shown.rstrip(" \t\r\n") if trims_before else shown
        if shown:
            yield Token("text", shown, at, line)
        line += plain.count("\n")
        if opening < 0:
            yield Token("EOF", "", end, line)
            return
        at = opening + (3 if trims_before else 2)
        start = at
        while text[start : start + 1].isspace():
            start += 1
        if text.startswith("/*", start):
            comment = _COMMENT.match(text, start)
            if comment is None:
                raise _fault(line, "unclosed comment")
            closing = re.compile(r"(\s+-)?\}\}").match(text, comment.end())
            if closing is None:
                raise _fault(line, "comment ends before closing delimiter")
            trim, at = closing.group(1) is not None, closing.end()
            line += text[opening:at].count("\n")
            continue
        yield Token("{{", "{{", opening, line)
        depth = 0
        while True:
            closing = re.compile(r"\s-\}\}|\}\}").match(text, at)
            if closing is not None:
                if depth:
                    raise _fault(line, "unclosed left paren")
                yield Token("}}", "}}", closing.start(), line)
                trim, at = len(closing.group()) == 4, closing.end()
                break
            if at >= len(text):
                raise _fault(line, "unclosed action")
            token = _token(text, at, line)
            depth += (token.kind == "(") - (token.kind == ")")
            if depth < 0:
                raise _fault(line, "unexpected right paren")
            yield token
            at += len(token.text)
            line += token.text.count("\n")


def _token(text: str, at: int, line: int) -> Token:
    for kind, pattern in _TOKENS:
        match = pattern.match(text, at)
        if match is None:
            continue
        found = match.group()
        if kind == "space" and re.match(r"-\}\}", text[match.end() :]):
            found = found[:-1]  # the last blank belongs to the closing -}}
            if not found:
                continue
        if kind in ("variable", "field", "word", "number") and not _ENDS_WORD.match(text, match.end()):
            if kind == "number":
                raise _fault(line, f'bad number syntax: "{found}{text[match.end()]}"')
            raise _bad(text[match.end()], line)
        if kind == "dot" and re.match(r"\d", text[at + 1 : at + 2]):
            continue
        return Token(found if kind in ("sign", ":=") else kind, found, at, line)
    char = text[at]
    if char in "\"'`":
        what = {'"': "quoted string", "'": "character constant", "`": "raw quoted string"}[char]
        raise _fault(line, f"unterminated {what}")
    if char == ":":
        raise _fault(line, "expected :=")
    if char.isascii() and char.isprintable():
        return Token("char1", char, at, line)
    raise _fault(line, f"unrecognized character in action: U+{ord(char):04X} {char!r}")


def _bad(char: str, line: int) -> TemplateError:
    return _fault(line, f"bad character U+{ord(char):04X} {char!r}")


def _fault(line: int, why: str) -> TemplateError:
    return TemplateError(f"template: output:{line}: {why}")


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._kept: list[Token] = []
        self._variables = ["$"]
        self._line = 1
        self._ranges = 0

    # ------------------------------------------------------------------ tokens

    def next(self) -> Token:
        token = self._kept.pop() if self._kept else next(self._tokens)
        self._line = token.line
        return token

    def peek(self) -> Token:
        token = self.next()
        self._kept.append(token)
        return token

    def skip(self) -> Token:
        """The next token that is no blank, without taking it."""
        while self.peek().kind == "space":
            self.next()
        return self.peek()

    def taken(self) -> Token:
        self.skip()
        return self.next()

    def fault(self, why: str) -> TemplateError:
        return _fault(self._line, why)

    def unexpected(self, token: Token, context: str) -> TemplateError:
        return self.fault(f"unexpected {token} in {context}")

    # ------------------------------------------------------------------ lists and actions

    def whole(self) -> list[Node]:
        found, ended, _ = self.items()
        if ended is not None:
            raise self.fault(f"unexpected {{{{{ended.text}}}}}")
        return found

    def items(self) -> tuple[list[Node], Token | None, int]:
        """Up to {{end}} or {{else}}, which is the token; None: the template is over."""
        found: list[Node] = []
        while True:
            token = self.next()
            if token.kind == "EOF":
                return found, None, token.at
            if token.kind == "text":
                found.append(Text(token.at, token.text, token.text))
                continue
            head = self.skip()
            if head.kind == "word" and head.text in ("end", "else"):
                self.next()
                return found, head, head.at
            found.append(self.action(head))

    def action(self, head: Token) -> Node:
        word = head.text if head.kind == "word" else ""
        if word in _UNSUPPORTED:
            raise self.fault(f"{{{{{word}}}}} is not supported by kubectl-lite: templates within templates are not")
        if word in ("break", "continue"):
            self.next()
            if (token := self.taken()).kind != "}}":
                raise self.unexpected(token, f"{{{{{word}}}}}")
            if not self._ranges:
                raise self.fault(f"{{{{{word}}}}} outside {{{{range}}}}")
            return Jump(head.at, f"{{{{{word}}}}}", word)
        if word in ("if", "with", "range"):
            self.next()
            return self.block(head, word)
        pipe = self.pipeline("command", "}}", head.at)
        return Action(head.at, f"{{{{{pipe.source}}}}}", pipe)

    def block(self, head: Token, word: str) -> Node:
        known = len(self._variables)
        pipe = self.pipeline(word, "}}", head.at)
        self._ranges += word == "range"
        body, ended, _ = self.items()
        self._ranges -= word == "range"
        otherwise: list[Node] | None = None
        if ended is not None and ended.text == "else":
            nested = self.skip()
            if word in ("if", "with") and nested.kind == "word" and nested.text == word:
                self.next()
                otherwise = [self.block(nested, word)]
                ended = Token("word", "end", 0, self._line)  # the inner block has taken the {{end}}
            else:
                if (token := self.taken()).kind != "}}":
                    raise self.unexpected(token, "{{else}}")
                otherwise, ended, _ = self.items()
                if ended is not None and ended.text == "else":
                    raise self.fault("expected end; found {{else}}")
                self.closed(ended, word)
        else:
            self.closed(ended, word)
        del self._variables[known:]
        source = f"{{{{{word} {pipe.source}}}}}" + "".join(node.source for node in body)
        if otherwise is not None:
            source += "{{else}}" + "".join(node.source for node in otherwise)
        source += "{{end}}"
        kind = Range if word == "range" else Block
        return kind(head.at, source, word, pipe, body, otherwise)

    def closed(self, ended: Token | None, word: str) -> None:
        if ended is None:
            raise self.fault("unexpected EOF")
        if (token := self.taken()).kind != "}}":
            raise self.unexpected(token, "end")

    # ------------------------------------------------------------------ pipelines

    def pipeline(self, context: str, end: str, at: int) -> Pipe:
        names, assigns = self.declared(context)
        start = self.skip().at
        commands: list[Command] = []
        while True:
            token = self.skip()
            if token.kind == end:
                self.next()
                break
            if token.kind not in _BEGINS or (token.kind == "word" and token.text in _KEYWORDS):
                raise self.unexpected(token, context)
            commands.append(self.command())
        if not commands:
            raise self.fault(f"missing value for {context}")
        for number, command in enumerate(commands[1:], start=2):
            if isinstance(command.args[0], Constant | Dot):
                raise self.fault(f"non executable command in pipeline stage {number}")
        sign = " = " if assigns else " := "
        source = (", ".join(names) + sign if names else "") + " | ".join(c.source for c in commands)
        return Pipe(start if not names else at, source, names, assigns, commands)

    def declared(self, context: str) -> tuple[list[str], bool]:
        """`$x :=`, `$x =`, and of a range `$i, $x :=`."""
        names: list[str] = []
        while self.skip().kind == "variable":
            name = self.next()
            blank = self.peek() if self.peek().kind == "space" else None
            sign = self.skip()
            if sign.kind in (":=", "="):
                self.next()
                names.append(name.text)
                if sign.kind == ":=":
                    self._variables += names
                else:
                    for known in names:
                        self.known(known)
                return names, sign.kind == "="
            if sign.kind == "," and names:
                raise self.fault(f"too many declarations in {context}")
            if sign.kind == "," and context == "range":
                self.next()
                names.append(name.text)
                continue
            if names:
                raise self.fault("range can only initialize variables")
            if sign.kind == ",":
                raise self.fault(f"too many declarations in {context}")
            if blank is not None:
                self._kept.append(blank)
            self._kept.append(name)
            return [], False
        if names:
            raise self.fault("range can only initialize variables")
        return [], False

    def known(self, name: str) -> None:
        if name not in self._variables:
            raise self.fault(f'undefined variable "{name}"')

    def command(self) -> Command:
        at, args = self.skip().at, list[Node]()
        while True:
            self.skip()
            operand = self.operand()
            if operand is not None:
                args.append(operand)
            token = self.next()
            if token.kind == "space":
                continue
            if token.kind in ("}}", ")"):
                self._kept.append(token)
            elif token.kind != "|":
                raise self.unexpected(token, "operand")
            break
        if not args:
            raise self.fault("empty command")
        return Command(at, " ".join(_argument(arg) for arg in args), args)

    def operand(self) -> Node | None:
        node = self.term()
        if node is None or self.peek().kind != "field":
            return node
        at, names = self.peek().at, []
        while self.peek().kind == "field":
            names.append(self.next().text[1:])
        source = node.source + "".join(f".{name}" for name in names)
        if isinstance(node, Field):
            return Field(at, source, [*node.names, *names])
        if isinstance(node, Variable):
            return Variable(at, source, node.name, [*node.names, *names])
        if isinstance(node, Constant | Dot):
            raise self.fault(f"unexpected . after term {quoted(node.source)}")
        return Chain(
            at,
            (f"({node.source})" if isinstance(node, Pipe) else node.source) + source[len(node.source) :],
            node,
            names,
        )

    def term(self) -> Node | None:
        token = self.taken()
        match token.kind:
            case "word":
                return self.word(token)
            case "dot":
                return Dot(token.at, ".")
            case "variable":
                self.known(token.text)
                return Variable(token.at, token.text, token.text, [])
            case "field":
                return Field(token.at, token.text, [token.text[1:]])
            case "number":
                return Constant(
                    token.at, token.text, _number(token.text, self.fault(f'bad number syntax: "{token.text}"'))
                )
            case "string":
                return Constant(token.at, token.text, self.unescaped(token.text[1:-1]))
            case "char":
                char = self.unescaped(token.text[1:-1])
                if len(char) != 1:
                    raise self.fault(f"malformed character constant: {token.text}")
                return Constant(token.at, token.text, ord(char))
            case "raw":
                return Constant(token.at, token.text, token.text[1:-1].replace("\r", ""))
            case "(":
                known = len(self._variables)
                pipe = self.pipeline("parenthesized pipeline", ")", token.at)
                del self._variables[known:]
                return pipe
        self._kept.append(token)
        return None

    def unescaped(self, text: str) -> str:
        try:
            return _ESCAPE.sub(_escaped, text)
        except ValueError:
            raise self.fault("invalid syntax") from None

    def word(self, token: Token) -> Node:
        if token.text in ("true", "false"):
            return Constant(token.at, token.text, token.text == "true")
        if token.text == "nil":
            return Constant(token.at, "nil", NIL)
        if token.text in _KEYWORDS:
            raise self.unexpected(token, "operand")
        if token.text in ABSENT:
            raise self.fault(f'function "{token.text}" is not supported by kubectl-lite')
        if token.text not in NAMES:
            raise self.fault(f'function "{token.text}" not defined')
        return Identifier(token.at, token.text)


def _argument(node: Node) -> str:
    return f"({node.source})" if isinstance(node, Pipe) else node.source


def _number(text: str, fault: TemplateError) -> int | float:
    plain = text.replace("_", "")
    try:
        if re.fullmatch(r"[+-]?0[0-7]+", plain):
            return int(plain, 8)
        return int(plain, 0)
    except ValueError:
        try:
            return float(plain)
        except ValueError:
            raise fault from None


def _escaped(match: re.Match[str]) -> str:
    """Raises ValueError."""
    hexadecimal, octal, char = match[1] or match[2] or match[3], match[4], match[5]
    if hexadecimal or octal:
        return chr(int(hexadecimal, 16) if hexadecimal else int(octal, 8))
    if char not in _ESCAPES:
        raise ValueError(char)
    return _ESCAPES[char]
