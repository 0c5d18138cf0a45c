"""Listens to what the runtime tells of containers, and asks for it again whenever the runtime has been away.

What ended meanwhile nobody tells: as soon as there is somebody to be asked, all pods are looked at, not at the next relist.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import NoReturn

from kubeapi.tasks import Backoff
from node_agent.runtimes.errors import RuntimeFault
from node_agent.runtimes.interface import Runtime

AGAIN = Backoff(first=0.1, most=1.0)
"""Short: a runtime is on this machine, and to ask for it costs next to nothing."""


async def listen(
    runtime: Runtime,
    *,
    changed: Callable[[str], None],
    lost: Callable[[], None],
    back: Callable[[], None],
    rng: Random,
    log: logging.Logger,
) -> NoReturn:
    """`changed` is called with the UID of each pod that is told of, `lost` when the runtime goes away, `back` after that."""
    failures, away = 0, False
    while True:
        reason: Exception | str = "it ended its stream of events"
        try:
            async with aclosing(runtime.changes()) as changes:
                async for uid in changes:
                    if uid:
                        changed(uid)
                        continue
                    if away:
                        log.info("the container runtime is back, after %d tries", failures)
                        back()
                    failures, away = 0, False
        except (RuntimeFault, OSError) as error:
            reason = error
        if not away:
            away = True
            log.warning("lost the container runtime, trying again: %s", reason)
            lost()
        await asyncio.sleep(AGAIN.delay(failures, rng))
        failures += 1
