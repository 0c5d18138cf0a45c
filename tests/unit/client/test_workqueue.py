import random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from kubeapi.client.workqueue import WorkQueue
from kubeapi.clock import LoopClock
from kubeapi.tasks import Backoff


@pytest.fixture
def queue(clock: LoopClock, rng: random.Random) -> WorkQueue[str]:
    return WorkQueue("test", clock=clock, rng=rng, backoff=Backoff(first=1, most=8, jitter=0))


async def test_a_key_added_twice_is_handed_out_once(queue: WorkQueue[str]) -> None:
    queue.add("a")
    queue.add("a")
    assert [queue.get_nowait(), queue.get_nowait()] == ["a", None]


async def test_a_key_added_during_work_comes_again_only_after_done(queue: WorkQueue[str]) -> None:
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert queue.get_nowait() is None
    queue.done("a")
    assert queue.get_nowait() == "a"


async def test_the_earliest_timer_wins(queue: WorkQueue[str], clock: LoopClock) -> None:
    queue.add_after("a", 10)
    queue.add_after("a", 3)
    queue.add_after("a", 5)
    await queue.get()
    assert clock.monotonic() == pytest.approx(3, abs=0.01)


async def test_retries_back_off_until_forgotten(queue: WorkQueue[str]) -> None:
    delays = [queue.retry("a") for _ in range(5)]
    queue.forget("a")
    assert (delays, queue.retry("a")) == ([1, 2, 4, 8, 8], 1)
    queue.close()


class _Still:
    def monotonic(self) -> float:
        return 0.0


class QueueMachine(RuleBasedStateMachine):
    """Against a model: what must be handed out, and what is handed out."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: WorkQueue[int] = WorkQueue("model", clock=_Still(), rng=random.Random(0))
        self.owed: set[int] = set()
        self.active: set[int] = set()

    @rule(key=st.integers(0, 3))
    def add(self, key: int) -> None:
        self.queue.add(key)
        self.owed.add(key)

    @rule()
    def get(self) -> None:
        key = self.queue.get_nowait()
        if key is None:
            assert self.owed <= self.active
            return
        assert key in self.owed
        assert key not in self.active
        self.owed.discard(key)
        self.active.add(key)

    @precondition(lambda self: self.active)
    @rule(data=st.data())
    def done(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.active)))
        self.queue.done(key)
        self.active.discard(key)

    @invariant()
    def waits_exactly_for_what_is_owed_and_free(self) -> None:
        assert len(self.queue) == len(self.owed - self.active)
        assert self.queue.idle == (not self.owed and not self.active)


QueueMachine.TestCase.settings = settings(max_examples=50, deadline=None)
TestQueueMachine = QueueMachine.TestCase
