"""The committer of the embedded store: whatever breaks, nobody waits for ever."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import StoreUnavailable


async def test_a_journal_that_breaks_in_an_unforeseen_way_answers_every_writer(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store.db")
    assert store._journal is not None
    store._journal.thread.shutdown()  # submitting to it now raises RuntimeError, which is no StoreError
    async with asyncio.timeout(5):
        results = await asyncio.gather(*(store.create(f"/k{n}", b"") for n in range(2_500)), return_exceptions=True)
    assert {type(result) for result in results} == {StoreUnavailable}
    assert store._committer is not None
    with pytest.raises(RuntimeError):
        await store._committer
    store._journal._db.close()
