"""The three patch types, as pure functions from plain JSON values to plain JSON values.

JSON patch (RFC 6902) and merge patch (RFC 7386) know no schema. A strategic merge patch (Kubernetes,
"Update API objects in place using kubectl patch") merges lists by the schema's merge keys and obeys directives:

    $patch: replace | delete | merge       on a map, or on an element of a keyed list
    $setElementOrder/FIELD: [...]          the order of a merged list
    $deleteFromPrimitiveList/FIELD: [...]  elements to take out of a list of scalars
    $retainKeys: [...]                     the only keys that a map keeps

Server-side apply (list_type, list_map_keys) will need the same FieldInfo and stands beside these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor

from kubeapi.errors import BadRequest, FieldError, Invalid
from kubeapi.schema import FieldInfo, descriptor_of, field_at, fields_of

MOST_OPERATIONS = 10_000
_INDEX = re.compile(r"0|[1-9][0-9]{0,9}")


def merge_key_of(type_: Any, path: tuple[str, ...]) -> str:
    """The merge key of the list at a path of JSON names, "" where it has none."""
    info = field_at(type_, path)
    return info.merge_key if info is not None and "merge" in info.patch_strategy else ""


# ------------------------------------------------------------------ RFC 7386


def merge_patch(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


# ------------------------------------------------------------------ RFC 6902


def json_patch(target: Any, operations: Any) -> Any:
    """Raises BadRequest for a patch that is none, Invalid where it does not fit the object."""
    if not isinstance(operations, Sequence) or isinstance(operations, str | bytes):
        raise BadRequest("a JSON patch is a list of operations")
    if len(operations) > MOST_OPERATIONS:
        raise BadRequest(f"a JSON patch has at most {MOST_OPERATIONS} operations")
    for number, operation in enumerate(operations):
        if not isinstance(operation, Mapping):
            raise BadRequest(f"operation {number} of the JSON patch is not an object")
        target = _operate(target, operation, number)
    return target


def _operate(target: Any, operation: Mapping[str, Any], number: int) -> Any:
    op, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise BadRequest(f"operation {number} of the JSON patch has no path")
    if op in ("add", "replace", "test") and "value" not in operation:
        raise BadRequest(f"operation {number} of the JSON patch ({op} {path}) has no value")
    steps = _pointer(path)
    if op == "test":
        if not _same(_fetch(target, steps, path), operation["value"]):
            raise _misfit(path, "the test failed: the value is another")
        return target
    if op in ("move", "copy"):
        source = operation.get("from")
        if not isinstance(source, str):
            raise BadRequest(f"operation {number} of the JSON patch ({op}) has no from")
        value = _fetch(target, _pointer(source), source)
        if op == "move":
            target = _change(target, _pointer(source), "remove", None, source)
        return _change(target, steps, "add", value, path)
    if op in ("add", "replace", "remove"):
        return _change(target, steps, op, operation.get("value"), path)
    raise BadRequest(f"operation {number} of the JSON patch: {op!r} is none of add, remove, replace, move, copy, test")


def _same(a: Any, b: Any) -> bool:
    """Equal as JSON values: unlike in Python, true is not 1."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def _misfit(path: str, why: str) -> Invalid:
    return Invalid(f"the JSON patch does not fit at {path!r}: {why}", causes=[FieldError(path, why)])


def _pointer(path: str) -> list[str]:
    if not path:
        return []
    if not path.startswith("/"):
        raise BadRequest(f"{path!r} is no JSON pointer: it starts with /")
    return [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]


def _index(items: list[Any], step: str, path: str, *, past_end: bool) -> int:
    if past_end and step == "-":
        return len(items)
    if not _INDEX.fullmatch(step) or int(step) > len(items) - (0 if past_end else 1):
        raise _misfit(path, f"{step!r} is no index of a list of {len(items)}")
    return int(step)


def _fetch(target: Any, steps: list[str], path: str) -> Any:
    for step in steps:
        if isinstance(target, list):
            target = target[_index(target, step, path, past_end=False)]
        elif isinstance(target, dict) and step in target:
            target = target[step]
        else:
            raise _misfit(path, f"{step!r} is not there")
    return target


def _change(target: Any, steps: list[str], op: str, value: Any, path: str) -> Any:
    """A copy along the path; everything beside it is shared."""
    if not steps:
        return None if op == "remove" else value
    step, rest = steps[0], steps[1:]
    if isinstance(target, list):
        items = list(target)
        at = _index(items, step, path, past_end=op == "add" and not rest)
        if rest:
            items[at] = _change(items[at], rest, op, value, path)
        elif op == "add":
            items.insert(at, value)
        elif op == "replace":
            items[at] = value
        else:
            del items[at]
        return items
    if not isinstance(target, dict):
        raise _misfit(path, f"{step!r} is below a value that is neither object nor list")
    if step not in target and (rest or op != "add"):
        raise _misfit(path, f"{step!r} is not there")
    if rest:
        return target | {step: _change(target[step], rest, op, value, path)}
    if op == "remove":
        return {name: inner for name, inner in target.items() if name != step}
    return target | {step: value}


# ------------------------------------------------------------------ strategic merge

_ORDER = "$setElementOrder/"
_DROP = "$deleteFromPrimitiveList/"


def strategic_merge_patch(type_: Any, target: dict[str, Any], patch: Any) -> dict[str, Any]:
    """Raises BadRequest, naming the path, for directives that do not fit the schema."""
    if not isinstance(patch, dict):
        raise BadRequest("a strategic merge patch is an object")
    return _merge_map(target, patch, descriptor_of(type_), "")


def _merge_map(target: dict[str, Any], patch: dict[str, Any], message: Descriptor | None, path: str) -> dict[str, Any]:
    directive = patch.get("$patch")
    if directive == "replace":
        return _plain({k: v for k, v in patch.items() if k != "$patch"})  # type: ignore[no-any-return]
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise BadRequest(f"{path or 'patch'}: $patch is replace, delete or merge, not {directive!r}")
    merged = dict(target)
    retained = patch.get("$retainKeys")
    if retained is not None:
        if not isinstance(retained, list):
            raise BadRequest(f"{path}: $retainKeys is a list")
        merged = {k: v for k, v in merged.items() if k in retained}
    known = fields_of(message) if message is not None else {}
    for name, value in patch.items():
        where = f"{path}.{name}" if path else name
        if name.startswith(_DROP):
            field = name.removeprefix(_DROP)
            merged[field] = [v for v in merged.get(field) or [] if v not in _list(value, where)]
        elif name.startswith("$"):
            continue
        elif value is None:
            merged.pop(name, None)
        else:
            order = patch.get(_ORDER + name)
            merged[name] = _merge_value(merged.get(name), value, known.get(name), order, where)
    for name, order in patch.items():
        field = name.removeprefix(_ORDER)
        if name.startswith(_ORDER) and field not in patch and isinstance(merged.get(field), list):
            info = known.get(field)
            merged[field] = _ordered(merged[field], _list(order, name), info.merge_key if info else "")
    return merged


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise BadRequest(f"{where}: a list is expected")
    return value


def _merge_value(old: Any, new: Any, info: FieldInfo | None, order: Any, path: str) -> Any:
    if isinstance(new, dict):
        base = old if isinstance(old, dict) else {}
        return _merge_map(base, new, info.message if info and not info.map else None, path)
    if isinstance(new, list) and info is not None and "merge" in info.patch_strategy:
        items: list[Any] = old if isinstance(old, list) else []
        if info.merge_key:
            merged = _merge_keyed(items, new, info, path)
        elif new and isinstance(new[0], dict):
            return _plain(new)
        else:
            merged = items + [v for v in new if v not in items]
        return _ordered(merged, order, info.merge_key) if isinstance(order, list) else merged
    return _plain(new)


def _merge_keyed(old: list[Any], new: list[Any], info: FieldInfo, path: str) -> list[Any]:
    key = info.merge_key
    if any(isinstance(item, dict) and item.get("$patch") == "replace" and key not in item for item in new):
        kept = [i for i in new if not (isinstance(i, dict) and i.get("$patch") == "replace")]
        return _plain(kept)  # type: ignore[no-any-return]
    merged = list(old)
    for number, item in enumerate(new):
        if not isinstance(item, dict) or key not in item:
            raise BadRequest(f"{path}[{number}]: the element has no {key!r}, by which the list is merged")
        at = next((i for i, v in enumerate(merged) if isinstance(v, dict) and v.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(_merge_map({}, item, info.message, f"{path}[{number}]"))
        else:
            merged[at] = _merge_map(merged[at], item, info.message, f"{path}[{number}]")
    return merged


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Elements named in `order` in that order; each other one stays behind the element it stood behind."""

    def mark(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, dict) else item

    wanted = [mark(item) for item in order]
    rank = {id(i): wanted.index(mark(i)) for i in items if mark(i) in wanted}
    placed = iter(sorted((i for i in items if id(i) in rank), key=lambda i: rank[id(i)]))
    return [next(placed) if id(i) in rank else i for i in items]


def _plain(value: Any) -> Any:
    """Without directives and nulls: what a patch's new subtree leaves behind."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None and not k.startswith("$")}
    if isinstance(value, list):
        return [_plain(v) for v in value if not (isinstance(v, dict) and v.get("$patch") == "delete")]
    return value
