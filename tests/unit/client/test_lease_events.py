import asyncio
import random
from datetime import UTC, datetime

import pytest
from fake_api import FakeApi

from kubeapi.client.events import EventRecorder
from kubeapi.client.lease import LeaderElector
from kubeapi.clock import LoopClock
from kubeapi.types.coordination_v1 import Lease
from kubeapi.types.core_v1 import Event, Pod
from kubeapi.types.meta_v1 import ObjectMeta

POD = Pod(metadata=ObjectMeta(name="web", namespace="default", uid="u"))


class Contender:
    def __init__(self, api: FakeApi, name: str, clock: LoopClock, log: list[str]) -> None:
        self.elector = LeaderElector(api, name="boss", identity=name, clock=clock, rng=random.Random(name))
        self._log = log

    async def lead(self) -> None:
        self._log.append(f"+{self.elector.identity}")
        try:
            await asyncio.Event().wait()
        finally:
            self._log.append(f"-{self.elector.identity}")

    def start(self) -> "asyncio.Task[None]":
        return asyncio.ensure_future(self.elector.run(self.lead))


async def stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_one_leads_and_hands_over_at_once_when_it_stops(clock: LoopClock) -> None:
    api, log = FakeApi(), []
    first = Contender(api, "a", clock, log).start()
    await asyncio.sleep(1)
    second = Contender(api, "b", clock, log).start()
    await asyncio.sleep(100)
    assert log == ["+a"]
    await stop(first)
    await asyncio.sleep(5)
    assert log == ["+a", "-a", "+b"]
    await stop(second)


async def test_a_leader_cut_off_stops_before_another_begins_and_campaigns_again(clock: LoopClock) -> None:
    log: list[str] = []
    api, cut = FakeApi(), FakeApi()
    cut.objects = api.objects
    first = Contender(cut, "a", clock, log).start()
    await asyncio.sleep(1)
    second = Contender(api, "b", clock, log).start()
    await asyncio.sleep(1)
    cut.down = True
    await asyncio.sleep(60)
    assert log == ["+a", "-a", "+b"]
    cut.down = False
    cut.revision = api.revision
    await stop(second)
    await asyncio.sleep(60)
    assert log == ["+a", "-a", "+b", "-b", "+a"]
    await stop(first)
    lease = next(o for o in api.objects.values() if isinstance(o, Lease))
    assert lease.spec.holder_identity == ""


def events_in(api: FakeApi) -> list[Event]:
    return [o for o in api.objects.values() if isinstance(o, Event)]


@pytest.fixture
def recorder(clock: LoopClock, rng: random.Random) -> tuple[FakeApi, EventRecorder]:
    api = FakeApi()
    return api, EventRecorder(api, component="test", clock=clock, rng=rng)


async def test_the_same_event_is_counted(recorder: tuple[FakeApi, EventRecorder]) -> None:
    api, events = recorder
    events.event(POD, "Warning", "BackOff", "again")
    await events.flush()
    await asyncio.sleep(90)
    events.event(POD, "Warning", "BackOff", "again")
    events.event(POD, "Warning", "BackOff", "again")
    await events.flush()
    (event,) = events_in(api)
    assert event.count == 3
    assert event.first_timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert event.last_timestamp == datetime(2026, 1, 1, 0, 1, 30, tzinfo=UTC)


async def test_many_similar_messages_become_one_event(recorder: tuple[FakeApi, EventRecorder]) -> None:
    api, events = recorder
    for number in range(20):
        events.event(POD, "Normal", "Pulled", f"took {number} ms")
    await events.flush()
    combined = [e for e in events_in(api) if e.message.startswith("(combined from similar events)")]
    assert (len(events_in(api)), [e.count for e in combined]) == (11, [10])


async def test_a_flood_is_cut_and_nothing_blocks_while_the_server_is_away(
    recorder: tuple[FakeApi, EventRecorder],
) -> None:
    api, events = recorder
    api.down = True
    task = asyncio.ensure_future(events.run())
    for _ in range(100):
        events.event(POD, "Warning", "BackOff", "again")
        await asyncio.sleep(0)
    assert events.dropped == 75
    await asyncio.sleep(120)
    api.down = False
    await asyncio.sleep(60)
    assert [e.count for e in events_in(api)] == [25]
    await stop(task)


async def test_an_event_that_expired_on_the_server_is_told_anew(
    recorder: tuple[FakeApi, EventRecorder],
) -> None:
    api, events = recorder
    events.event(POD, "Normal", "Started", "it runs")
    await events.flush()
    api.remove(Event, events_in(api)[0].metadata.name)
    events.event(POD, "Normal", "Started", "it runs")
    await events.flush()
    assert [e.count for e in events_in(api)] == [2]
