"""The node's lease: renewed for ever, so that the cluster knows that its agent lives."""

import asyncio
import logging
from random import Random

from msgspec.structs import replace

from kubeapi.client.interface import Client
from kubeapi.clock import Clock, format_micro
from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubeapi.tasks import Backoff
from kubeapi.types.coordination_v1 import Lease, LeaseSpec
from kubeapi.types.meta_v1 import ObjectMeta

NAMESPACE = "kube-node-lease"


class NodeLease:
    def __init__(
        self, *, node: str, period: float, client: Client, clock: Clock, rng: Random, log: logging.Logger
    ) -> None:
        """`period`: seconds between two renewals; the lease is valid for four times as long."""
        self._node, self._period = node, period
        self._client, self._clock, self._rng, self._log = client, clock, rng, log

    async def keep(self) -> None:
        """Create or renew, for ever: silence of four periods makes the node NotReady. So one attempt may hang for one
        period at most, and after a failure the next one comes soon."""
        lease: Lease | None = None
        failures, again = 0, Backoff(first=0.2, most=2.0)
        while True:
            begun = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(1.0, self._period)):
                    lease = await self._renew(lease)
            except (ApiError, OSError, TimeoutError) as error:
                if not failures:
                    self._log.warning("cannot renew the node's lease, trying on: %s", error or "no answer")
                lease = None
            if lease is None:
                await asyncio.sleep(min(self._period, again.delay(failures, self._rng)))
                failures += 1
                continue
            if failures > 1:
                self._log.info("the node's lease is renewed again, after %d failures", failures)
            failures = 0
            spent = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.1, self._period * (1 - 0.1 * self._rng.random()) - spent))

    async def _renew(self, lease: Lease | None) -> Lease | None:
        spec = LeaseSpec(
            holder_identity=self._node,
            lease_duration_seconds=max(1, round(4 * self._period)),
            renew_time=format_micro(self._clock.now()),
        )
        try:
            if lease is None:
                lease = await self._client.get(Lease, self._node, NAMESPACE)
            return await self._client.update(replace(lease, spec=spec))
        except Conflict:
            return None
        except NotFound:
            meta = ObjectMeta(name=self._node, namespace=NAMESPACE)
            try:
                return await self._client.create(Lease(metadata=meta, spec=spec))
            except (AlreadyExists, NotFound):
                return None
