"""Small things about objects that every part needs: owners, conditions, keys, names, and the Table."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from random import Random
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from kubeapi.types import meta_v1

T = TypeVar("T")

replace = msgspec.structs.replace

SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""No vowels and no look-alikes, so that no name becomes a word."""


def key_of(obj: Any) -> str:
    """`namespace/name`, or `name` of a cluster-scoped object."""
    metadata = obj.metadata
    return f"{metadata.namespace}/{metadata.name}" if metadata.namespace else str(metadata.name)


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name)."""
    namespace, _, name = key.rpartition("/")
    return namespace, name


def revision_of(obj: Any) -> int:
    return int(obj.metadata.resource_version or 0)


def new_uid(rng: Random) -> str:
    """A UUID of version 4."""
    text = f"{rng.getrandbits(128):032x}"
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"


def name_suffix(rng: Random, length: int = 5) -> str:
    return "".join(rng.choices(SUFFIX_ALPHABET, k=length))


# ------------------------------------------------------------------ owners


def controller_of(obj: Any) -> meta_v1.OwnerReference | None:
    for owner in obj.metadata.owner_references:
        if owner.controller:
            return owner  # type: ignore[no-any-return]
    return None


def is_controlled_by(obj: Any, owner: Any) -> bool:
    reference = controller_of(obj)
    return reference is not None and reference.uid == owner.metadata.uid


def controller_reference(owner: Any) -> meta_v1.OwnerReference:
    return meta_v1.OwnerReference(
        api_version=owner.api_version,
        kind=owner.kind,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


# ------------------------------------------------------------------ conditions


def get_condition(conditions: Sequence[T], type_: str) -> T | None:
    return next((c for c in conditions if c.type == type_), None)  # type: ignore[attr-defined]


def is_true(conditions: Sequence[Any], type_: str) -> bool:
    condition = get_condition(conditions, type_)
    return condition is not None and condition.status == "True"


def set_condition(conditions: Sequence[T], new: T, now: datetime) -> list[T]:
    """The conditions with `new` in its place; last_transition_time is `now` only where the status changed."""
    old: Any = get_condition(conditions, new.type)  # type: ignore[attr-defined]
    kept = old is not None and old.status == new.status  # type: ignore[attr-defined]
    placed = replace(new, last_transition_time=old.last_transition_time if kept else now)  # type: ignore[type-var]
    if old is None:
        return [*conditions, placed]
    return [placed if c is old else c for c in conditions]


def without_condition(conditions: Sequence[T], type_: str) -> list[T]:
    return [c for c in conditions if c.type != type_]  # type: ignore[attr-defined]


# ------------------------------------------------------------------ Table (JSON only; meta.k8s.io/v1)


class TableColumnDefinition(Struct, frozen=True, kw_only=True):
    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0
    """0 is always shown; above, only in wide output."""


class TableRow(Struct, frozen=True, kw_only=True, omit_defaults=True):
    cells: list[Any]
    object: Any = None


class Table(Struct, frozen=True, kw_only=True, rename="camel"):
    kind: str = field(default_factory=lambda: "Table")
    api_version: str = field(default_factory=lambda: "meta.k8s.io/v1")
    metadata: meta_v1.ListMeta = meta_v1.ListMeta()
    column_definitions: list[TableColumnDefinition] = []
    rows: list[TableRow] = []
