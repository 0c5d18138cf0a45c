"""A runtime that goes away and comes back: what was missed is looked for at once, and told once."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from random import Random

import pytest

from kubeapi.clock import LoopClock
from node_agent.runtime_changes import AGAIN, listen
from node_agent.runtimes.errors import RuntimeUnavailable
from node_agent.runtimes.hollow import HollowRuntime

pytestmark = pytest.mark.looptime


class Restarting(HollowRuntime):
    """Away from the end of its first stream on, for some seconds."""

    def __init__(self, away: float, *, at_first: bool = False) -> None:
        super().__init__(clock=LoopClock(datetime(2026, 1, 1, tzinfo=UTC)))
        self._away, self._streams, self.tries = away, int(at_first), 0
        self._back_at = asyncio.get_running_loop().time() + away if at_first else 0.0

    async def changes(self) -> AsyncGenerator[str, None]:
        now = asyncio.get_running_loop().time()
        if now < self._back_at:
            self.tries += 1
            raise RuntimeUnavailable("connection refused")
        self._streams += 1
        yield ""
        yield f"pod-{self._streams}"
        if self._streams > 1:
            await asyncio.Event().wait()
        self._back_at = now + self._away
        raise RuntimeUnavailable("the engine ended its event stream")


async def test_what_was_missed_is_looked_for_as_soon_as_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    runtime, told, lost, back = Restarting(away=12.0), [], [], []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    listening = asyncio.create_task(
        listen(
            runtime,
            changed=told.append,
            lost=lambda: lost.append(loop.time() - begun),
            back=lambda: back.append(loop.time() - begun),
            rng=Random(1),
            log=logging.getLogger("test"),
        )
    )
    await asyncio.sleep(30)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert told == ["pod-1", "pod-2"]
    assert lost == [0.0]
    [at] = back
    assert 12.0 <= at <= 12.0 + AGAIN.most * (1 + AGAIN.jitter)
    assert runtime.tries < 20
    assert [r.message for r in caplog.records] == [
        "lost the container runtime, trying again: the engine ended its event stream",
        f"the container runtime is back, after {runtime.tries + 1} tries",
    ]


async def test_a_runtime_that_is_away_when_we_begin_is_told_to_be_back() -> None:
    runtime, lost, back = Restarting(away=5.0, at_first=True), [], []
    loop = asyncio.get_running_loop()
    listening = asyncio.create_task(
        listen(
            runtime,
            changed=lambda uid: None,
            lost=lambda: lost.append(loop.time()),
            back=lambda: back.append(loop.time()),
            rng=Random(1),
            log=logging.getLogger("test"),
        )
    )
    await asyncio.sleep(10)
    assert (len(lost), len(back)) == (1, 1)
    await runtime.close()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_a_stream_that_ends_without_a_word_is_a_runtime_that_is_lost() -> None:
    runtime, told = HollowRuntime(clock=LoopClock(datetime(2026, 1, 1, tzinfo=UTC))), []
    listening = asyncio.create_task(
        listen(
            runtime,
            changed=told.append,
            lost=lambda: told.append("lost"),
            back=lambda: told.append("back"),
            rng=Random(1),
            log=logging.getLogger("test"),
        )
    )
    await asyncio.sleep(1)
    await runtime.close()
    await asyncio.sleep(1)
    assert told == ["lost", "back"]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
