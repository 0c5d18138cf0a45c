"""Wall time, injected. Waiting is the event loop's (asyncio.sleep, asyncio.timeout), so under a virtual loop
both move together: LoopClock turns the loop's time into wall time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """UTC, timezone-aware."""
        ...

    def monotonic(self) -> float:
        """Seconds from some fixed point; never goes back."""
        ...


class SystemClock:
    monotonic = staticmethod(time.monotonic)  # asked several times in each request: a frame of our own would cost more

    def now(self) -> datetime:
        return datetime.now(UTC)


class LoopClock:
    """Wall time that stands at `epoch` when the loop's time is zero and moves as the loop's time moves."""

    def __init__(self, epoch: datetime) -> None:
        self._epoch = epoch

    def now(self) -> datetime:
        return self._epoch + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()


def format_micro(moment: datetime) -> str:
    """A MicroTime: always six digits, as Go's parser wants them."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_micro(text: str) -> datetime:
    """Raises ValueError."""
    return datetime.fromisoformat(text)
