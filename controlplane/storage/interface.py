"""The store contract: keys, bytes, and one ordered history.

A revision is a positive integer, unique to one write and ordered as the writes are; it is the public
resourceVersion. Every implementation passes tests/contract/test_store.py: memory, SQLite, etcd.
An acknowledged write is durable (but for the memory store).
"""

from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, Literal, Protocol

from msgspec import Struct


class Entry(Struct, frozen=True, gc=False):
    key: str
    value: bytes
    revision: int
    """The write that gave this key this value."""


class Change(Struct, frozen=True, gc=False):
    type: Literal["put", "delete"]
    key: str
    value: bytes
    """The new value; of a delete, the last one."""
    revision: int
    """The write itself, of a delete too."""
    previous: bytes | None = None
    """The value before; None when the key was created."""


class Page(Struct, frozen=True, gc=False):
    entries: list[Entry]
    revision: int
    """The state of the store that this page shows."""
    more: bool = False


class Latest(Struct, frozen=True, gc=False):
    change: int
    """The revision of the newest write that any reader can see."""
    upto: int
    """No later write will have a revision up to this one, and between the two there is none. It may be ahead of `change`:
    a store that others share moves on without us."""


class Recent(Struct, frozen=True, gc=False):
    after: int
    """Every change with a revision > after is here, up to the asked-for one."""
    changes: Sequence[Change]


class Measure(Protocol):
    """Whom a store tells how it does. Times are seconds."""

    def batch(self, writes: int, seconds: float) -> None:
        """One transaction is durable."""
        ...

    def revision_read(self, seconds: float) -> None:
        """The newest revision was asked of a server; one read may serve many callers."""
        ...


class Unmeasured:
    def batch(self, writes: int, seconds: float) -> None: ...
    def revision_read(self, seconds: float) -> None: ...


class Size(Struct, frozen=True, gc=False):
    store: str
    """What kind of store: etcd, sqlite."""
    bytes: int
    """On its disk, room that is free again counted."""


class Store(Protocol):
    """Errors: KeyExists, KeyMissing, RevisionConflict(current), Compacted(oldest), StoreUnavailable: see errors.py."""

    measure: Measure
    """Set by whoever wants to know; Unmeasured at first."""

    async def get(self, key: str) -> Entry | None: ...

    async def range(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries under prefix in key order, from `start` on; of a past revision where the history reaches."""
        ...

    # The next three: functions that give a coroutine, so that one which only passes the call on adds no frame to each write.

    def create(self, key: str, value: bytes) -> Coroutine[Any, Any, int]:
        """Returns the new revision. KeyExists."""
        ...

    def update(self, key: str, value: bytes, *, at: int) -> Coroutine[Any, Any, int]:
        """Compare-and-swap: only if the key is still at revision `at`. RevisionConflict, KeyMissing."""
        ...

    def delete(self, key: str, *, at: int) -> Coroutine[Any, Any, int]:
        """Returns the revision of the deletion. RevisionConflict, KeyMissing."""
        ...

    def watch(self, prefix: str, *, after: int, previous: bool = True) -> AsyncIterator[Sequence[Change]]:
        """Changes with a revision > after, in order, in batches; also empty batches' worth of progress never.

        Who knows what was there before asks for no `previous`, which may then be missing, as a delete's value may, and a
        delete may be of a key that never was: etcd looks up each value for it, and a write costs it twice as much.
        Raises Compacted when the history no longer reaches back to `after`.
        """
        ...

    async def recent(self, prefix: str, *, upto: int, most: int) -> Recent:
        """The newest changes up to a revision, in order, at most so many: for a server that begins where another ended."""
        ...

    async def latest(self) -> Latest:
        """Read from the store itself, begun after the call."""
        ...

    async def revision(self) -> int:
        """latest().change"""
        ...

    async def size(self) -> Size | None:
        """None: it keeps nothing on a disk. Of several members one tells it. StoreUnavailable."""
        ...

    async def compact(self, revision: int) -> None: ...

    async def close(self) -> None: ...
