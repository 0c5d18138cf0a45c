"""What the API core hands to its callers: objects with their revision and their shared encoded form."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from kubeapi import codec
from kubeapi.meta import replace


class Item(Struct, eq=False, gc=False):
    """One object at one revision. Its encodings are made once and shared by all lists and watchers.

    `forms` is for the doors: any further encoding (a protobuf body, a table row, a watch frame) by a key of theirs.
    """

    key: str
    object: Any
    revision: int
    encoded: bytes | None = None
    forms: dict[Any, Any] = {}

    @classmethod
    def at(cls, key: str, obj: Any, revision: int, value: bytes = b"") -> Item:
        """The object with its resourceVersion set to `revision`. `value`: its JSON without one, where that is at hand."""
        metadata = replace(obj.metadata, resource_version=str(revision))
        encoded = _with_version(value, revision) if value else None
        return cls(key, replace(obj, metadata=metadata), revision, encoded)

    def shed(self) -> None:
        """It is history now: seldom asked for, and made again where it is."""
        self.encoded = None
        self.forms.clear()

    @property
    def json(self) -> bytes:
        if self.encoded is None:
            self.encoded = codec.encode(self.object)
        return self.encoded


_METADATA = b'"metadata":{'


def _with_version(value: bytes, revision: int) -> bytes:
    """The first `metadata` is the object's own: only kind and apiVersion stand before it. It is never empty."""
    at = value.index(_METADATA) + len(_METADATA)
    return b'%b"resourceVersion":"%d",%b' % (value[:at], revision, value[at:])


class ListResult(Struct, frozen=True, gc=False):
    items: list[Item]
    revision: int
    continue_: str = ""
    remaining: int = 0
    """How many more there are, where it is known."""


class ApiEvent(Struct, frozen=True, gc=False):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    item: Item | None
    """None for a BOOKMARK."""
    revision: int
    initial_events_end: bool = False
    """The BOOKMARK that ends the initial events of a WatchList (KEP-3157)."""


class Deleted(Struct, frozen=True, gc=False):
    item: Item
    gone: bool
    """False: the object waits for its finalizers or for its node, with deletionTimestamp set."""
