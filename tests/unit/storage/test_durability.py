"""What the SQLite journal keeps: acknowledged writes, the revision counter, the history."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import StoreFull
from controlplane.storage.interface import Change
from controlplane.storage.journal import Journal

WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.storage.embedded import EmbeddedStore
async def one(store, n):
    revision = await store.create(f"/k{n:06}", b"v%d" % n)
    print(n, revision, flush=True)
async def main():
    store = EmbeddedStore(Path(sys.argv[1]))
    for n in range(0, 10**6, 16):
        await asyncio.gather(*(one(store, n + i) for i in range(16)))
asyncio.run(main())
"""


async def check(path: Path, lines: list[str]) -> None:
    store = EmbeddedStore(path)
    for line in lines:
        n, revision = (int(word) for word in line.split())
        entry = await store.get(f"/k{n:06}")
        assert entry is not None and (entry.value, entry.revision) == (b"v%d" % n, revision)
    await store.close()


def test_acknowledged_writes_survive_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(200)]
        writer.kill()
        lines += [line for line in writer.stdout.read().split("\n")[:-1] if line]
    asyncio.run(check(path, lines))


async def test_revisions_and_history_go_on_after_a_restart(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "store.db")
    made = await store.create("/a", b"1")
    gone = await store.delete("/a", at=made)
    await store.close()
    store = EmbeddedStore(tmp_path / "store.db")
    assert await store.revision() == gone
    batch = await anext(aiter(store.watch("/", after=made)))
    assert [(c.type, c.revision) for c in batch] == [("delete", gone)]
    assert await store.create("/a", b"2") > gone
    await store.close()


def test_a_full_disk_refuses_the_whole_batch_and_recovers(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "store.db")
    big = Change("put", "/big", b"x" * 1_000_000, 2)

    def limit(pages: int) -> None:
        journal.thread.submit(journal._db.execute, f"PRAGMA max_page_count={pages}").result()

    limit(20)
    with pytest.raises(StoreFull):
        journal.thread.submit(journal.write, [Change("put", "/a", b"1", 1), big], 0).result()
    assert journal.load().entries == []
    limit(1_000_000)
    journal.thread.submit(journal.write, [Change("put", "/a", b"1", 1), big], 0).result()
    assert [e.key for e in journal.load().entries] == ["/a", "/big"]
    journal.close()
