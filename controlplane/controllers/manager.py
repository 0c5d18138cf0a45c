"""Starts all controllers on shared informers, and starts again whichever ends.

One informer per kind feeds them all; events go through one recorder. A controller that fails takes no other with it:
`forever` runs each one again with backoff, and logs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from controlplane.controllers.shared import Informers, Runnable, Shared
from kubeapi.client.controller import ControllerMetrics, NoControllerMetrics
from kubeapi.client.events import EventRecorder
from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.tasks import forever

COMPONENT = "sampan-controllers"


class ControllerManager:
    def __init__(
        self,
        *,
        client: Client,
        clock: Clock,
        rng: Random,
        builders: Sequence[Callable[[Shared], Sequence[Runnable]]],
        metrics: ControllerMetrics | None = None,
    ) -> None:
        self._rng = rng
        self._events = EventRecorder(client, component=COMPONENT, clock=clock, rng=rng)
        shared = Shared(
            client=client,
            clock=clock,
            rng=rng,
            informers=Informers(client, rng=rng, metrics=metrics),
            events=self._events,
            metrics=metrics or NoControllerMetrics(),
        )
        self._controllers = [controller for build in builders for controller in build(shared)]
        self._informers = shared.informers

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(forever(self._events.run, name="events", rng=self._rng), name="events")
            for number, informer in enumerate(self._informers):
                name = f"informer-{number}"
                tasks.create_task(forever(informer.run, name=name, rng=self._rng), name=name)
            for controller in self._controllers:
                tasks.create_task(forever(controller.run, name=controller.name, rng=self._rng), name=controller.name)
