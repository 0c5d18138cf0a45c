"""Label selectors (text and LabelSelector structs) and field selectors, parsed once, asked often."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kubeapi.errors import BadRequest
from kubeapi.remembered import by_text
from kubeapi.types import meta_v1

Operator = Literal["in", "notin", "exists", "!", "gt", "lt"]


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case "gt" | "lt":
                return self._compare(value)

    def _compare(self, value: str | None) -> bool:
        bound = next(iter(self.values))
        try:
            difference = int(value or "") - int(bound)
        except ValueError:
            return False
        return difference > 0 if self.operator == "gt" else difference < 0


@dataclass(frozen=True, slots=True)
class LabelQuery:
    """All requirements must hold; none at all matches everything."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False
    """Matches no object: what an absent (null) LabelSelector means."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        return not self.nothing and all(r.matches(labels) for r in self.requirements)

    def __bool__(self) -> bool:
        return self.nothing or bool(self.requirements)


EVERYTHING = LabelQuery()
NOTHING = LabelQuery(nothing=True)

_KEY = r"(?:[A-Za-z0-9.-]+/)?[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?"
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_KEY})\s*(==|=|!=|>|<)\s*([A-Za-z0-9_.-]*)")
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")


@by_text(1024)
def parse_label_selector(text: str) -> LabelQuery:
    """`app=web,tier!=db,env in (a, b),!old,weight>3`. Raises BadRequest."""
    found = []
    rest = text.strip()
    while rest:
        requirement, rest = _one(rest, text)
        found.append(requirement)
        if rest and not rest.startswith(","):
            raise BadRequest(f"unable to parse label selector {text!r}: unexpected {rest!r}")
        if rest == ",":
            raise BadRequest(f"unable to parse label selector {text!r}: it ends with a comma")
        rest = rest[1:].strip()
    return LabelQuery(tuple(found))


def _one(rest: str, text: str) -> tuple[Requirement, str]:
    if match := _SET.match(rest):
        values = frozenset(v.strip() for v in match.group(3).split(","))
        operator: Operator = "in" if match.group(2) == "in" else "notin"
        return Requirement(match.group(1), operator, values), rest[match.end() :].lstrip()
    if match := _EQUAL.match(rest):
        operators: dict[str, Operator] = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}
        operator = operators[match.group(2)]
        if operator in ("gt", "lt") and not match.group(3).isdigit():
            raise BadRequest(f"unable to parse label selector {text!r}: {match.group(2)} takes a whole number")
        return Requirement(match.group(1), operator, frozenset([match.group(3)])), rest[match.end() :].lstrip()
    if match := _EXISTS.match(rest):
        return Requirement(match.group(2), "!" if match.group(1) else "exists"), rest[match.end() :].lstrip()
    raise BadRequest(f"unable to parse label selector {text!r} at {rest!r}; write e.g. app=web,env in (a,b),!old")


_OPERATORS: dict[str, Operator] = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}


def label_query(selector: meta_v1.LabelSelector | Mapping[str, str] | None) -> LabelQuery:
    """Of a LabelSelector, or of a plain map (Service, ReplicationController). None selects nothing. Raises BadRequest."""
    if selector is None:
        return NOTHING
    if isinstance(selector, Mapping):
        return LabelQuery(tuple(Requirement(k, "in", frozenset([v])) for k, v in selector.items()))
    found = [Requirement(k, "in", frozenset([v])) for k, v in selector.match_labels.items()]
    for expression in selector.match_expressions:
        if expression.operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            raise BadRequest(f"{expression.operator!r} is not a valid label selector operator")
        found.append(Requirement(expression.key, _OPERATORS[expression.operator], frozenset(expression.values)))
    return LabelQuery(tuple(found))


def format_label_selector(selector: meta_v1.LabelSelector | Mapping[str, str] | None) -> str:
    """The text form, for a request."""
    words = []
    for r in label_query(selector).requirements:
        values = sorted(r.values)
        match r.operator:
            case "in" if len(values) == 1:
                words.append(f"{r.key}={values[0]}")
            case "in" | "notin":
                words.append(f"{r.key} {r.operator} ({','.join(values)})")
            case "exists":
                words.append(r.key)
            case "!":
                words.append(f"!{r.key}")
            case "gt" | "lt":
                words.append(f"{r.key}{'>' if r.operator == 'gt' else '<'}{values[0]}")
    return ",".join(words)


def node_requirement(key: str, operator: str, values: list[str]) -> Requirement:
    """Of a NodeSelectorRequirement. Raises BadRequest."""
    if operator not in _OPERATORS:
        raise BadRequest(f"{operator!r} is not a valid node selector operator; use {', '.join(_OPERATORS)}")
    if operator in ("Gt", "Lt") and len(values) != 1:
        raise BadRequest(f"the node selector operator {operator} takes exactly one value, not {len(values)}")
    return Requirement(key, _OPERATORS[operator], frozenset(values))


# ------------------------------------------------------------------ fields


@dataclass(frozen=True, slots=True)
class FieldTerm:
    path: str
    """As in JSON: `metadata.name`, `spec.nodeName`."""
    equal: bool
    value: str


@by_text(1024)
def parse_field_selector(text: str) -> tuple[FieldTerm, ...]:
    """`metadata.name=web,status.phase!=Running`. Raises BadRequest."""
    found = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"\s*([A-Za-z0-9_.]+)\s*(==|=|!=)(.*)", term)
        if match is None:
            raise BadRequest(f"invalid field selector {text!r}: write PATH=VALUE or PATH!=VALUE, with commas between")
        found.append(FieldTerm(match.group(1), match.group(2) != "!=", match.group(3).strip()))
    return tuple(found)


def field_query(text: str, supported: Mapping[str, Callable[[Any], str]]) -> Callable[[Any], bool]:
    """A test of objects. `supported` gives the fields that may be selected by and how to read them. Raises BadRequest."""
    terms = parse_field_selector(text)
    for term in terms:
        if term.path not in supported:
            raise BadRequest(f"field label not supported: {term.path}; supported are {', '.join(sorted(supported))}")
    readers = [(supported[t.path], t.equal, t.value) for t in terms]
    return lambda obj: all((read(obj) == value) == equal for read, equal, value in readers)
