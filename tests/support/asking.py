"""Somebody who asks a service all the time, on threads of his own, and notes each request that failed."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from dataclasses import dataclass, field

QUIET = 3.0
"""Seconds without a failed request that count as: the service is well."""
MOST_TOLD = 40
"""Failures of which the report tells the time."""


@dataclass
class Asking:
    """Each request has a connection of its own, and the next one comes `every` so many seconds after its end."""

    url: str
    every: float = 0.1
    patience: float = 1.0
    """Seconds until a request counts as failed."""
    total: int = 0
    slowest: tuple[float, float] = (0.0, 0.0)
    """Seconds that a request took that was answered, and when it began."""
    failures: list[tuple[float, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.wait(self.every):
            begun = time.monotonic()
            try:
                with urllib.request.urlopen(self.url, timeout=self.patience) as answer:
                    assert answer.read() == b"here\n"
            except (OSError, AssertionError) as error:
                self.failures.append((begun, f"{type(error).__name__}: {error}"))
            else:
                self.slowest = max(self.slowest, (time.monotonic() - begun, begun))
            self.total += 1

    def since(self, moment: float) -> list[str]:
        return [text for begun, text in self.failures if begun >= moment]

    async def quiet(self, seconds: float = QUIET) -> None:
        """For so long from now on every request is answered."""
        begun, before = time.monotonic(), self.total
        await asyncio.sleep(seconds)
        assert self.total > before + seconds
        assert not self.since(begun), self.since(begun)

    async def quiet_within(self, seconds: float) -> float:
        """How long it took until QUIET seconds without a failure began."""
        begun = time.monotonic()
        async with asyncio.timeout(seconds):
            while time.monotonic() - (start := max([begun, *(at for at, _ in self.failures)])) < QUIET:  # noqa: ASYNC110 - the asker is a thread
                await asyncio.sleep(0.1)  # other processes' doing, seen only by asking
        return start - begun

    def report(self, begun: float) -> str:
        when = [f"{at - begun:.1f}" for at, _ in self.failures]
        kinds = sorted({text for _, text in self.failures})
        told = ", ".join(when[:MOST_TOLD]) + (" ..." if len(when) > MOST_TOLD else "")
        span = f", {told} s after the blow: {'; '.join(kinds)}" if when else ""
        took, at = self.slowest
        return f"{self.total} requests, {len(when)} failed{span}; the slowest took {took:.2f} s at {at - begun:.1f} s"
