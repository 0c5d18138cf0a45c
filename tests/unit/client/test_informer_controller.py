import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

import pytest
from fake_api import FakeApi
from prometheus_client import CollectorRegistry

from kubeapi.client.controller import Barrier, Controller, Done, own_key
from kubeapi.client.informer import RECONNECT, Informer
from kubeapi.client.keys import Key, by_node
from kubeapi.client.metrics import InformerNumbers
from kubeapi.clock import LoopClock
from kubeapi.errors import Conflict
from kubeapi.types.core_v1 import Pod, PodSpec
from kubeapi.types.meta_v1 import ObjectMeta


def pod(name: str, node: str = "", uid: str = "") -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=uid or f"uid-{name}"),
        spec=PodSpec(containers=[], node_name=node),
    )


@contextlib.asynccontextmanager
async def running(*jobs: object) -> AsyncIterator[None]:
    tasks = [asyncio.ensure_future(job.run()) for job in jobs]  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def api() -> FakeApi:
    return FakeApi()


@pytest.fixture
def pods(api: FakeApi, rng: random.Random) -> Informer[Pod]:
    return Informer(api, Pod, rng=rng, indexes={"node": by_node}, chunk=2)


def names(pods: Informer[Pod]) -> list[str]:
    return sorted(p.metadata.name for p in pods.cache)


async def test_lists_in_chunks_then_follows_and_indexes(api: FakeApi, pods: Informer[Pod]) -> None:
    for name in "abc":
        api.put(pod(name))
    async with running(pods):
        await pods.synced.wait()
        assert names(pods) == ["a", "b", "c"]
        assert api.calls[:2] == ["list", "list"]
        api.put(pod("a", node="n1"))
        api.remove(Pod, "b")
        await pods.reached(api.revision)
        assert names(pods) == ["a", "c"]
        assert [p.metadata.name for p in pods.cache.by("node", "n1")] == ["a"]
        assert [p.metadata.name for p in pods.cache.by("node", "")] == ["c"]


async def test_a_handlers_defect_is_counted_and_blinds_no_other(
    api: FakeApi, rng: random.Random, caplog: pytest.LogCaptureFixture
) -> None:
    numbers = InformerNumbers(CollectorRegistry(), client="test")
    pods = Informer(api, Pod, rng=rng, metrics=numbers)
    heard: list[str] = []

    def stumbles(old: Pod | None, new: Pod | None) -> None:
        raise ValueError("what is this")

    pods.subscribe(stumbles)
    pods.subscribe(lambda old, new: heard.append(new.metadata.name if new is not None else ""))
    api.put(pod("a"))
    async with running(pods):
        await pods.synced.wait()
        api.put(pod("b"))
        await pods.reached(api.revision)
    labels = {"client": "test", "group": "", "resource": "pods"}
    assert heard == ["a", "b"]
    assert numbers.registry.get_sample_value("sampan_informer_handler_failures_total", labels) == 2
    assert [str(r.subject) for r in caplog.records if r.exc_info] == ["Pod/default/a", "Pod/default/b"]  # type: ignore[attr-defined]


async def test_bookmarks_move_the_revision(api: FakeApi, pods: Informer[Pod]) -> None:
    api.put(pod("a"))
    async with running(pods):
        await pods.synced.wait()
        api.bookmark(Pod)
        await pods.reached(api.revision)
        assert pods.revision == 2


async def test_a_deletion_missed_while_the_history_went_is_told(api: FakeApi, pods: Informer[Pod]) -> None:
    told = []
    pods.subscribe(lambda old, new: told.append((old and old.metadata.name, new and new.metadata.name)))
    api.put(pod("a"))
    api.put(pod("b"))
    async with running(pods):
        await pods.synced.wait()
        api.stop()
        await asyncio.sleep(60)
        api.remove(Pod, "a")
        api.forget_history()
        api.down = False
        await pods.reached(api.revision)
    assert told == [(None, "a"), (None, "b"), ("a", None)]


async def test_a_lost_server_is_logged_once_and_watched_again_from_where_it_was(
    api: FakeApi, pods: Informer[Pod], caplog: pytest.LogCaptureFixture
) -> None:
    api.put(pod("a"))
    async with running(pods):
        await pods.synced.wait()
        api.stop()
        await asyncio.sleep(300)
        api.put(pod("b"))
        api.down = False
        await pods.reached(api.revision)
    assert names(pods) == ["a", "b"]
    assert pods.relists == 1
    assert len([r for r in caplog.records if r.levelname == "WARNING"]) == 1
    shortest = RECONNECT.most * (1 - RECONNECT.jitter)
    assert api.calls.count("watch") < 300 / shortest + 10  # backed off


async def test_an_object_made_anew_under_its_name_is_a_deletion_and_an_addition(
    api: FakeApi, pods: Informer[Pod]
) -> None:
    told = []
    pods.subscribe(lambda old, new: told.append((old and old.metadata.uid, new and new.metadata.uid)))
    async with running(pods):
        api.put(pod("a", uid="1"))
        await pods.reached(1)
        api.put(pod("a", uid="2"))
        await pods.reached(2)
    assert told == [(None, "1"), ("1", None), (None, "2")]


async def test_a_failing_reconciler_backs_off_and_a_conflict_comes_back_at_once(
    api: FakeApi, pods: Informer[Pod], clock: LoopClock, rng: random.Random
) -> None:
    visits: dict[str, list[float]] = {"good": [], "bad": [], "busy": []}
    finished = asyncio.Event()

    async def reconcile(key: Key) -> Done:
        visits[key.name].append(clock.monotonic())
        if key.name == "bad" and len(visits["bad"]) < 6:
            raise ValueError("no")
        if key.name == "busy" and len(visits["busy"]) < 3:
            raise Conflict("moved on")
        if key.name == "bad":
            finished.set()
        return Done(requeue_after=100 if key.name == "good" and len(visits["good"]) == 1 else None)

    loop = Controller("test", reconcile, sources={pods: own_key}, clock=clock, rng=rng, workers=2)
    for name in visits:
        api.put(pod(name))
    async with running(pods, loop):
        await finished.wait()
        await asyncio.sleep(200)
    gaps = [b - a for a, b in zip(visits["bad"], visits["bad"][1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[-1] > 8 * gaps[0]
    assert visits["busy"][-1] - visits["busy"][0] < 0.1
    assert visits["good"][1] - visits["good"][0] == pytest.approx(100, abs=0.1)


async def test_a_controller_stopped_in_the_middle_of_a_visit_takes_it_up_again(
    api: FakeApi, pods: Informer[Pod], clock: LoopClock, rng: random.Random
) -> None:
    begun, seen = asyncio.Event(), []

    async def reconcile(key: Key) -> Done:
        if not begun.is_set():
            begun.set()
            await asyncio.Event().wait()
        seen.append(key)
        return Done()

    loop = Controller("test", reconcile, sources={pods: own_key}, clock=clock, rng=rng)
    api.put(pod("a"))
    async with running(pods):
        async with running(loop):
            await begun.wait()
        async with running(loop):
            await asyncio.sleep(1)
    assert seen == [Key("default", "a")]


def test_the_barrier_holds_until_the_cache_has_shown_the_newest_write() -> None:
    barrier: Barrier[str] = Barrier()
    barrier.wrote("a", 5)
    barrier.wrote("a", "3")
    assert [barrier.ready("a", r) for r in (4, 5, 0)] == [False, True, True]
    assert barrier.ready("b", 0)
