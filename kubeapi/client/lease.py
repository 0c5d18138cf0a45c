"""Leader election on a coordination.k8s.io Lease: of several instances one runs the loops.

    campaign ──acquired──► lead() runs, the lease is renewed every `retry` seconds
        ▲                     │
        └── lead() cancelled ◄┴─ somebody else holds it, or no renewal succeeded within `renew_deadline`

The process never exits because a lease was lost: a slow disk under the store would otherwise take down
everything that could have waited. Clocks of different machines are never compared: a lease has run out when
*this* process has seen no change of it for its duration, by its own monotonic clock.

renew_deadline < duration: the old leader has stopped before a new one can begin.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random

from msgspec.structs import replace

from kubeapi.client.interface import Client
from kubeapi.clock import Clock, format_micro
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeapi.types.coordination_v1 import Lease, LeaseSpec
from kubeapi.types.meta_v1 import ObjectMeta


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """Seconds: of validity, until a leader without a successful renewal stops, between attempts."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.retry < self.renew_deadline < self.duration:
            raise ValueError("a lease needs 0 < retry < renew_deadline < duration")


class LeaderElector:
    leading: bool
    """lead() is running, and the lease is ours."""

    def __init__(
        self,
        client: Client,
        *,
        name: str,
        identity: str,
        clock: Clock,
        rng: Random,
        namespace: str = "kube-system",
        times: LeaseTimes = LeaseTimes(),
        log: logging.Logger | None = None,
    ) -> None:
        self.name = name
        self.identity = identity
        self.leading = False
        self._client = client
        self._namespace = namespace
        self._clock = clock
        self._rng = rng
        self._times = times
        self._log = log or logging.getLogger(f"lease-{name}")
        self._lease: Lease | None = None
        """As last seen on the server."""
        self._seen = 0.0
        """When _lease was last seen to change, by the monotonic clock."""
        self._renewed = 0.0
        """When our last successful renewal was begun, by the monotonic clock."""

    @property
    def holder(self) -> str:
        """Who leads, as far as this instance knows; empty: nobody."""
        return (self._lease.spec.holder_identity or "") if self._lease is not None else ""

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Campaigns, leads, and campaigns again when the lease is lost, until cancelled.

        `lead` is cancelled when the lease is lost, and waited for before the next campaign. If it ends by
        itself, the lease is given up, and its error raised.
        """
        while True:
            await self._campaign()
            self._log.info("%s: %s leads now", self.name, self.identity)
            self.leading = True
            try:
                ended = await self._lead(lead)
            finally:
                self.leading = False
                await self._release()
            if ended:
                return
            self._log.warning("%s: %s has lost the lease", self.name, self.identity)

    async def _lead(self, lead: Callable[[], Awaitable[None]]) -> bool:
        """False when the lease is lost, True when lead() has returned."""

        async def run() -> None:
            await lead()

        work = asyncio.create_task(run(), name=f"{self.name}-lead")
        hold = asyncio.create_task(self._hold(), name=f"{self.name}-hold")
        tasks = (work, hold)
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
                return True
            return False
        finally:
            raised = work.done()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for task, result in zip(tasks, results, strict=True):
                if isinstance(result, Exception) and not (task is work and raised):
                    self._log.error("%s: %s failed", self.name, task.get_name(), exc_info=result)

    async def _campaign(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._times.renew_deadline):
                    if await self._try():
                        return
            except (ApiError, OSError, TimeoutError) as error:
                self._log.info("%s: cannot campaign: %s", self.name, error)
            await asyncio.sleep(self._times.retry * (1 + 0.2 * self._rng.random()))

    async def _hold(self) -> None:
        """Returns when the lease is lost."""
        while True:
            await asyncio.sleep(self._times.retry)
            left = self._renewed + self._times.renew_deadline - self._clock.monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left):
                    if not await self._try():
                        return
            except (ApiError, OSError, TimeoutError) as error:
                self._log.warning("%s: cannot renew: %s", self.name, error)

    async def _try(self) -> bool:
        """One attempt to take or to renew the lease. False: somebody else holds it, or was quicker."""
        begun = self._clock.monotonic()
        try:
            if self._lease is None or self.holder != self.identity:
                self._observe(await self._client.get(Lease, self.name, self._namespace))
            if not self._free():
                return False
            await self._renew()
        except NotFound:
            fresh = Lease(metadata=ObjectMeta(name=self.name, namespace=self._namespace), spec=self._claim(LeaseSpec()))
            try:
                self._observe(await self._client.create(fresh))
            except AlreadyExists:
                return False
        except Conflict:
            self._observe(await self._client.get(Lease, self.name, self._namespace))
            if self.holder != self.identity:
                return False
            await self._renew()  # our own write, whose answer was lost
        self._renewed = begun
        return True

    async def _renew(self) -> None:
        assert self._lease is not None
        self._observe(await self._client.update(replace(self._lease, spec=self._claim(self._lease.spec))))

    def _free(self) -> bool:
        """Ours, nobody's, or run out."""
        if self._lease is None or self.holder in ("", self.identity):
            return True
        duration = self._lease.spec.lease_duration_seconds or self._times.duration
        return self._clock.monotonic() - self._seen > duration

    def _observe(self, lease: Lease) -> None:
        known = self._lease
        if known is None or known.metadata.resource_version != lease.metadata.resource_version:
            self._seen = self._clock.monotonic()
        self._lease = lease

    def _claim(self, old: LeaseSpec) -> LeaseSpec:
        now = format_micro(self._clock.now())
        ours = old.holder_identity == self.identity
        return replace(
            old,
            holder_identity=self.identity,
            lease_duration_seconds=max(1, round(self._times.duration)),
            acquire_time=old.acquire_time if ours else now,
            renew_time=now,
            lease_transitions=(old.lease_transitions or 0) + (0 if ours or not old.holder_identity else 1),
        )

    async def _release(self) -> None:
        """Lets the next one begin at once. If that fails, the lease runs out by itself."""
        lease = self._lease
        if lease is None or self.holder != self.identity:
            return
        freed = replace(lease, spec=replace(lease.spec, holder_identity="", lease_duration_seconds=1))
        with contextlib.suppress(ApiError, OSError, TimeoutError):
            async with asyncio.timeout(self._times.retry):
                self._observe(await self._client.update(freed))
