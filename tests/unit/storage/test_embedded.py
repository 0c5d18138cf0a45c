"""The committer of the embedded store: whatever breaks, nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import StoreUnavailable


async def test_a_batch_that_breaks_in_an_unforeseen_way_is_answered_and_the_store_goes_on(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store.db")
    async with asyncio.timeout(5):
        results = await asyncio.gather(
            store.create("/\ud800", b""), store.create("/a", b""), return_exceptions=True
        )  # SQLite cannot encode the first key, and that is no StoreError
        assert [type(result) for result in results] == [StoreUnavailable, StoreUnavailable]
        assert await store.create("/a", b"") > 0
    await store.close()
