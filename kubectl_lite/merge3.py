"""The three-way merge of `apply`: what was applied last, what is applied now, what the server has.

`merge(last, new, live)` returns the object that the server should have: everything of `live`, with the fields of
`new` laid over it, less the fields that `last` had and `new` no longer has. Fields that only others write
(status, defaults, a replica count that an autoscaler owns and the manifest leaves out) stay as they are.

Lists whose elements have a merge key in the schema are merged element by element, in the order of `new` with
the others' elements behind; all other lists are taken whole from `new`, as a strategic merge patch would.
`kubectl` sends the difference as a patch; we send the result at the resourceVersion it was computed from, and
compute again on a conflict: the same outcome with one merge algorithm less on the wire.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MergeKeyOf = Callable[[tuple[str, ...]], str]
"""From a field's path (list elements leave no trace in it) to its list's merge key, "" where there is none."""


def merge(last: Any, new: Any, live: Any, key_of: MergeKeyOf, path: tuple[str, ...] = ()) -> Any:
    if isinstance(new, dict) and isinstance(live, dict):
        return _merge_maps(last if isinstance(last, dict) else {}, new, live, key_of, path)
    if isinstance(new, list) and isinstance(live, list) and (key := key_of(path)):
        return _merge_lists(last if isinstance(last, list) else [], new, live, key, key_of, path)
    return new


def _merge_maps(
    last: dict[str, Any], new: dict[str, Any], live: dict[str, Any], key_of: MergeKeyOf, path: tuple[str, ...]
) -> dict[str, Any]:
    merged = {field: value for field, value in live.items() if field in new or field not in last}
    for field, value in new.items():
        if value is None:
            merged.pop(field, None)
        elif field in live:
            merged[field] = merge(last.get(field), value, live[field], key_of, (*path, field))
        else:
            merged[field] = value
    return merged


def _merge_lists(
    last: list[Any], new: list[Any], live: list[Any], key: str, key_of: MergeKeyOf, path: tuple[str, ...]
) -> list[Any]:
    if not all(isinstance(item, dict) and key in item for item in (*last, *new, *live)):
        return new
    before = {item[key]: item for item in last}
    there = {item[key]: item for item in live}
    merged = [
        merge(before.get(item[key]), item, there[item[key]], key_of, path) if item[key] in there else item
        for item in new
    ]
    wanted = {item[key] for item in new}
    return merged + [item for item in live if item[key] not in wanted and item[key] not in before]
