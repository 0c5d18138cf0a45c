"""Tasks that never end, and what happens when they do: named, logged, begun again with backoff."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from kubeapi.errors import ApiError


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential, with jitter so that many clients of one lost server do not come back in step."""

    first: float = 0.1
    """Seconds after the first failure."""
    most: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    """A delay is lengthened by up to this part of itself."""

    def delay(self, failures: int, rng: Random | None) -> float:
        """After the first failure `failures` is 0. Without an rng: no jitter."""
        base = min(self.most, self.first * self.factor ** min(failures, 60))
        return base if rng is None else base * (1 + self.jitter * rng.random())


async def forever(
    run: Callable[[], Awaitable[None]],
    *,
    name: str,
    rng: Random | None = None,
    backoff: Backoff = Backoff(),
    log: logging.Logger | None = None,
    healthy_after: float = 60.0,
) -> None:
    """Runs `run` again and again. A run that lasted `healthy_after` seconds starts the backoff anew."""
    logger = log or logging.getLogger(name)
    loop = asyncio.get_running_loop()
    failures = 0
    while True:
        begun = loop.time()
        try:
            await run()
            logger.warning("%s ended; it should not; starting it again", name)
        except (ApiError, OSError) as error:  # the server's absence is no defect of ours: no traceback
            logger.warning("%s failed, starting it again: %s", name, error)
        except Exception:
            logger.exception("%s failed; starting it again", name)
        if loop.time() - begun >= healthy_after:
            failures = 0
        await asyncio.sleep(backoff.delay(failures, rng))
        failures += 1
