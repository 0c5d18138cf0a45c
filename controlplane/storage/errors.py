"""What a store may refuse. The registry turns these into API errors; nobody else sees them."""

from __future__ import annotations


class StoreError(Exception):
    """The root."""


class KeyExists(StoreError):
    """create: the key is taken."""


class KeyMissing(StoreError):
    """update, delete: there is no such key."""


class RevisionConflict(StoreError):
    """update, delete: the key is not at the expected revision any more."""

    def __init__(self, current: int) -> None:
        super().__init__(f"the key is at revision {current}")
        self.current = current


class Compacted(StoreError):
    """watch, range: the history does not reach back that far, or the watcher was too slow and was cut off."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"the history begins after revision {oldest}")
        self.oldest = oldest


class FutureRevision(StoreError):
    """range: the asked-for revision has not happened yet."""


class StoreUnavailable(StoreError):
    """The store cannot answer now. Whether a write that was under way took place is not known."""


class StoreFull(StoreError):
    """There is no room for the write; it did not take place."""


class OutcomeUnknown(StoreUnavailable):
    """The write was sent and never confirmed: it may have taken place, or take place yet."""


class ValueTooLarge(StoreError):
    """The store takes no value of that size; the write did not take place."""
