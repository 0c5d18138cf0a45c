"""What can be refused in any object by its schema alone: values outside a field's allowed ones, quantities and selectors that
nobody could read. Said here, at the door, once for all kinds: whoever acts on an object may then read it without fear.

    type ──► rules of its fields (made when first asked for) ──► fits?  nearly always ──► done
                                                                 else: walked again, with paths
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.apiserver.validation import (
    forbidden,
    invalid,
    key_faults,
    label_faults,
    label_value_faults,
    required,
    unsupported,
)
from kubeapi.errors import ApiError, FieldError
from kubeapi.quantity import parse
from kubeapi.remembered import by_identity
from kubeapi.schema import FieldInfo, descriptor_of, fields_of, reader
from kubeapi.selectors import node_requirement
from kubeapi.types import core_v1, meta_v1

Faults = Callable[[Any, str], Iterator[FieldError]]


@dataclass(frozen=True, slots=True)
class _Rule:
    """What is asked of each value of a field."""

    info: FieldInfo
    fits: Callable[[Any], bool]
    faults: Faults


def structural_faults(value: Any, path: str = "") -> Iterator[FieldError]:
    """Of an object, or of the part of one that is at `path`. Nearly always there are none, and paths cost time."""
    if not _fits(value):
        yield from _walk(value, path)


def _fits(value: Any) -> bool:
    return _shared_fits(value) if type(value) is core_v1.PodSpec else _all_fit(value)


def _all_fit(value: Any) -> bool:
    read, rules = _limited(type(value))
    for inner, rule in zip(read(value), rules, strict=True):
        if not inner and not (inner == "" and rule.info.scalar):  # an empty text is no quantity
            continue
        if rule.info.map:
            if not all(map(rule.fits, inner.values())):
                return False
        elif rule.info.repeated:
            if not all(map(rule.fits, inner)):
                return False
        elif not rule.fits(inner):
            return False
    return True


_shared_fits = by_identity()(_all_fit)
"""Of what many objects have in common."""


def _walk(value: Any, path: str) -> Iterator[FieldError]:
    read, rules = _limited(type(value))
    for inner, rule in zip(read(value), rules, strict=True):
        if not inner and not (inner == "" and rule.info.scalar):  # an empty text is no quantity
            continue
        where = f"{path}.{rule.info.json_name}" if path else rule.info.json_name
        if rule.info.map:
            for key, one in inner.items():
                yield from rule.faults(one, f"{where}[{key}]")
        elif rule.info.repeated:
            for i, one in enumerate(inner):
                yield from rule.faults(one, f"{where}[{i}]")
        else:
            yield from rule.faults(inner, where)


_Limited = tuple[Callable[[Any], Sequence[Any]], Sequence[_Rule]]
_LIMITED: dict[Any, _Limited] = {}
"""By type: the fields that are asked something of, or below which there are such, and what reads them all at once."""


def _limited(type_: Any) -> _Limited:
    found = _LIMITED.get(type_)
    if found is None:
        rules = [rule for info in fields_of(descriptor_of(type_)).values() if (rule := _rule(info)) is not None]
        found = _LIMITED[type_] = reader([rule.info.attribute for rule in rules]), rules
    return found


def _rule(info: FieldInfo) -> _Rule | None:
    faults = _leaf(info)
    if faults is not None:
        return _Rule(info, lambda value: next(faults(value, ""), None) is None, faults)
    return _Rule(info, _fits, _walk) if _leads_to_a_leaf(info, frozenset()) else None


def _leads_to_a_leaf(info: FieldInfo, above: frozenset[str]) -> bool:
    if _leaf(info) is not None:
        return True
    if info.message is None or info.message.full_name in above:
        return False
    name = info.message.full_name
    return any(_leads_to_a_leaf(one, above | {name}) for one in fields_of(info.message).values())


def _leaf(info: FieldInfo) -> Faults | None:
    if info.one_of and not info.repeated and not info.map:  # of lists, kinds tell themselves what they take
        return lambda value, path: _allowed(value, info.one_of, path)
    if info.scalar == "quantity":
        return quantity_faults
    return _BY_MESSAGE.get(info.message.name) if info.message is not None else None


# ------------------------------------------------------------------ what is asked


def _allowed(value: Any, allowed: Sequence[str], path: str) -> Iterator[FieldError]:
    if isinstance(value, str) and value not in allowed:
        yield unsupported(path, value, allowed)


def quantity_faults(value: Any, path: str) -> Iterator[FieldError]:
    try:
        parse(value)
    except ApiError as error:
        yield invalid(path, value, str(error))


def _selector_faults(selector: meta_v1.LabelSelector, path: str) -> Iterator[FieldError]:
    if selector.match_labels:
        yield from label_faults(f"{path}.matchLabels", selector.match_labels)
    for i, one in enumerate(selector.match_expressions):
        where = f"{path}.matchExpressions[{i}]"
        yield from key_faults(f"{where}.key", one.key)
        yield from _operands(one.operator, one.values, where)
        if one.operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield invalid(f"{where}.operator", one.operator, "not a valid selector operator")
        for j, value in enumerate(one.values):
            yield from label_value_faults(f"{where}.values[{j}]", value)


def _node_requirement_faults(one: core_v1.NodeSelectorRequirement, path: str) -> Iterator[FieldError]:
    yield from key_faults(f"{path}.key", one.key)
    yield from _operands(one.operator, one.values, path)
    try:
        node_requirement(one.key, one.operator, one.values)
    except ApiError as error:
        yield invalid(f"{path}.operator", one.operator, str(error))


def _operands(operator: str, values: Sequence[str], path: str) -> Iterator[FieldError]:
    if operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")


def _node_term_faults(term: core_v1.NodeSelectorTerm, path: str) -> Iterator[FieldError]:
    for i, one in enumerate(term.match_expressions):
        yield from _node_requirement_faults(one, f"{path}.matchExpressions[{i}]")
    for i, one in enumerate(term.match_fields):
        where = f"{path}.matchFields[{i}]"
        if one.key != "metadata.name":
            yield invalid(f"{where}.key", one.key, "not a valid field selector key: only metadata.name is")
        if one.operator not in ("In", "NotIn"):
            yield unsupported(f"{where}.operator", one.operator, ("In", "NotIn"))
        if len(one.values) != 1:
            yield required(f"{where}.values", "must be only one value for a node field selector")


_BY_MESSAGE: dict[str, Faults] = {
    "LabelSelector": _selector_faults,
    "NodeSelectorTerm": _node_term_faults,
}
