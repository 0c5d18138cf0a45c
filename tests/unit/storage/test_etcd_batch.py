"""Which writes share a transaction, and in what form: pure, so nothing is asked of etcd here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aetcd import rpc

from controlplane.storage.etcd_batch import (
    FORMAT,
    MOST_OPERATIONS,
    Write,
    all_passed,
    public,
    take,
    together,
)


@pytest.fixture
async def pending() -> AsyncIterator[asyncio.Future[int]]:
    future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    yield future
    future.cancel()


def made_of(message: Any) -> list[tuple[str, bytes, int]]:
    """What each operation does, to which key, and the position in front of its value."""
    found = []
    for one in message.success:
        if one.HasField("request_put"):
            assert one.request_put.value[1] == FORMAT
            found.append(("put", one.request_put.key, one.request_put.value[0]))
        else:
            found.append(("delete", one.request_delete_range.key, -1))
    return found


async def test_deletes_go_first_and_each_put_has_its_position(pending: asyncio.Future[int]) -> None:
    waiting = [
        Write("create", "/new", b"1", 0, pending),
        Write("delete", "/z", b"", public(7, 0), pending),
        Write("update", "/old", b"2", public(8, 3), pending),
        Write("delete", "/a", b"", public(9, 1), pending),
        Write("create", "/a", b"3", 0, pending),
    ]
    batch, later = take(waiting)
    assert later == [waiting[4]], "the second write of a key waits for the next batch"
    whole = together(batch, "/root")
    assert whole is not None and not whole.failure
    assert made_of(whole) == [
        ("delete", b"/root/a", -1),
        ("delete", b"/root/z", -1),
        ("put", b"/root/new", 2),
        ("put", b"/root/old", 3),
    ]
    assert [c.key for c in whole.compare if c.target == rpc.Compare.MOD] == [b"/root/a", b"/root/z", b"/root/old"]
    answer = rpc.TxnResponse(succeeded=True, header=rpc.ResponseHeader(revision=10))
    assert all_passed(batch, answer) == [public(10, position) for position in range(4)]


async def test_whoever_waits_no_longer_is_left_out(pending: asyncio.Future[int]) -> None:
    gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    gone.cancel()
    writes = [Write("create", "/a", b"", 0, gone), Write("create", "/a", b"", 0, pending)]
    assert take(writes) == ([writes[1]], [])


@pytest.mark.parametrize(("updates", "fits"), [(42, True), (43, False)])
async def test_what_would_have_too_many_compares_is_not_sent_together(
    pending: asyncio.Future[int], updates: int, fits: bool
) -> None:
    batch = [Write("update", f"/{i}", b"", public(5, 1), pending) for i in range(updates)]
    whole = together(batch, "/root")
    assert (whole is not None) is fits
    assert whole is None or len(whole.compare) <= MOST_OPERATIONS
