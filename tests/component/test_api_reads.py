"""Lists and watches on the memory store: what any client may rely on, whatever door it comes through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from random import Random

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.items import ApiEvent
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.errors import BadRequest, Expired, Invalid
from tests.component.api_world import (
    CONFIG,
    CTX,
    PODS,
    config,
    memory_api,
    pod,
)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with memory_api() as made:
        yield made


async def take(events: AsyncIterator[Sequence[ApiEvent]], count: int) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(5):
        async for batch in events:
            found += [(e.type, e.item.object.metadata.name if e.item else "") for e in batch]
            if len(found) >= count:
                break
    return found


async def test_chunks_make_the_whole_list(api: Api) -> None:
    for i in range(10):
        await api.create(CTX, CONFIG, "default", config(f"c{i}"))
    names, token = [], ""
    while True:
        page = await api.list(CTX, CONFIG, "default", limit=3, continue_=token)
        names += [item.object.metadata.name for item in page.items]
        if not (token := page.continue_):
            break
    assert names == [f"c{i}" for i in range(10)]
    with pytest.raises(BadRequest, match="continue key"):
        await api.list(CTX, CONFIG, "default", continue_="@@")


async def test_selectors(api: Api) -> None:
    await api.create(CTX, PODS, "default", pod("a", app="x"))
    await api.create(CTX, PODS, "default", pod("b", app="y"))
    labelled = await api.list(CTX, PODS, label_selector="app=x")
    assert [i.object.metadata.name for i in labelled.items] == ["a"]
    named = await api.list(CTX, PODS, field_selector="metadata.name!=a,status.phase=Pending")
    assert [i.object.metadata.name for i in named.items] == ["b"]
    with pytest.raises(BadRequest, match="field label not supported"):
        await api.list(CTX, PODS, field_selector="spec.colour=red")


async def test_a_watch_shows_every_change_after_its_version_once(api: Api) -> None:
    start = (await api.list(CTX, CONFIG, "default")).revision
    events = api.watch(CTX, CONFIG, "default", resource_version=str(start))
    await api.create(CTX, CONFIG, "default", config("a"))
    await api.patch(CTX, CONFIG, "default", "a", {"data": {"k": "v"}}, "merge")
    await api.create(CTX, CONFIG, "kube-system", config("elsewhere"))
    await api.delete(CTX, CONFIG, "default", "a")
    assert await take(events, 3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


async def test_an_object_that_begins_or_ceases_to_fit_is_added_or_deleted(api: Api) -> None:
    start = (await api.list(CTX, CONFIG, "default")).revision
    events = api.watch(CTX, CONFIG, "default", label_selector="show=yes", resource_version=str(start))
    await api.create(CTX, CONFIG, "default", config("a"))
    for value in ("yes", "no"):
        await api.patch(CTX, CONFIG, "default", "a", {"metadata": {"labels": {"show": value}}}, "merge")
    assert await take(events, 2) == [("ADDED", "a"), ("DELETED", "a")]


async def test_a_watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    await api.create(CTX, CONFIG, "default", config("a"))
    assert await take(api.watch(CTX, CONFIG, "default"), 1) == [("ADDED", "a")]
    watch_list = api.watch(CTX, CONFIG, "default", send_initial_events=True)
    assert await take(watch_list, 2) == [("ADDED", "a"), ("BOOKMARK", "")]


async def test_a_version_from_before_the_history_is_expired() -> None:
    store = EmbeddedStore()
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as core:
        await core.create(CTX, CONFIG, "default", config("a"))
    await store.compact(await store.revision())
    async with api_core(store=store, clock=SystemClock(), rng=Random(1)) as again:
        with pytest.raises(Expired, match="too old resource version"):
            await take(again.watch(CTX, CONFIG, "default", resource_version="1"), 1)


async def test_chunks_and_exact_versions_show_one_moment_whatever_is_written_meanwhile(api: Api) -> None:
    for name in "abcd":
        await api.create(CTX, CONFIG, "default", config(name, k="1"))
    first = await api.list(CTX, CONFIG, "default", limit=2)
    await api.create(CTX, CONFIG, "default", config("cc"))
    await api.patch(CTX, CONFIG, "default", "c", {"data": {"k": "2"}}, "merge")
    await api.delete(CTX, CONFIG, "default", "d")
    rest = await api.list(CTX, CONFIG, "default", continue_=first.continue_)
    assert [(i.object.metadata.name, i.object.data) for i in rest.items] == [("c", {"k": "1"}), ("d", {"k": "1"})]
    at = str(first.revision)
    then = await api.list(CTX, CONFIG, "default", resource_version=at, resource_version_match="Exact")
    assert [i.object.metadata.name for i in then.items] == ["a", "b", "c", "d"] and then.revision == first.revision
    assert all(int(i.object.metadata.resource_version) <= first.revision for i in then.items)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"resource_version_match": "Exact"}, "forbidden unless resourceVersion is provided"),
        ({"resource_version_match": "Exact", "resource_version": "0"}, 'forbidden for resourceVersion "0"'),
        ({"resource_version_match": "Nearly", "resource_version": "1"}, 'Unsupported value: "Nearly"'),
        ({"resource_version": "5", "continue_": "x"}, "not allowed when using continue"),
    ],
)
async def test_versions_that_do_not_fit_are_refused(api: Api, wish: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        await api.list(CTX, CONFIG, "default", **wish)  # type: ignore[arg-type]
