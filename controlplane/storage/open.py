"""Opens the store that a URL names: `memory:` or `sqlite:///absolute/path`."""

from __future__ import annotations

from pathlib import Path

from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.interface import Store


def open_store(url: str) -> Store:
    """ValueError for a URL that names no store we have; StoreUnavailable when it cannot be opened."""
    if url == "memory:":
        return EmbeddedStore()
    if url.startswith("sqlite:///"):
        return EmbeddedStore(Path(url.removeprefix("sqlite://")))
    raise ValueError(f"{url!r} names no store; allowed are memory: and sqlite:///path")
