"""The committer of the embedded store: whatever breaks, nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import KeyMissing, StoreUnavailable


async def test_a_batch_that_breaks_in_an_unforeseen_way_is_answered_and_the_store_goes_on(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store.db")
    async with asyncio.timeout(5):
        results = await asyncio.gather(
            store.create("/\ud800", b""), store.create("/a", b""), return_exceptions=True
        )  # SQLite cannot encode the first key, and that is no StoreError
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
        assert await store.create("/a", b"") > 0
    await store.close()


async def test_who_loses_to_a_write_of_its_own_batch_hears_it_only_when_that_write_is_durable(tmp_path: Path) -> None:
    """Else a client is told that an object is gone, and then reads it."""
    store = EmbeddedStore(tmp_path / "store.db")
    made = await store.create("/a", b"1")

    async def late() -> object:
        with pytest.raises(KeyMissing):
            await store.update("/a", b"2", at=made)
        return await store.get("/a")

    deleted, read = await asyncio.gather(store.delete("/a", at=made), late())
    assert (deleted > made, read) == (True, None)
    await store.close()
