"""Tokens of service accounts for pods: asked for once, kept, and asked for again before they end.

A token is renewed when four fifths of its life are over, or after a day, whichever is sooner. When the server cannot
be reached then, the old one serves on for as long as it is valid.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from kubeapi.client.interface import Client
from kubeapi.clock import Clock
from kubeapi.errors import ApiError
from kubeapi.logs import about
from kubeapi.types.authentication_v1 import BoundObjectReference, TokenRequest, TokenRequestSpec
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.references import MissingReference

RENEW_AFTER = 0.8
LONGEST_USE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Kept:
    token: bytes
    renew_at: datetime
    ends: datetime


class Tokens:
    _kept: dict[tuple[str, str, int], _Kept]
    """By pod UID, audience and seconds asked for."""

    def __init__(self, client: Client, *, clock: Clock, log: logging.Logger | None = None) -> None:
        self._client = client
        self._clock = clock
        self._log = log or logging.getLogger(__name__)
        self._kept = {}

    async def of(self, pod: Pod, *, audience: str, seconds: int) -> bytes:
        """Raises MissingReference."""
        key, now = (pod.metadata.uid, audience, seconds), self._clock.now()
        kept = self._kept.get(key)
        if kept is not None and now < kept.renew_at:
            return kept.token
        try:
            kept = self._kept[key] = await self._ask(pod, audience, seconds, now)
        except ApiError as error:
            if kept is None or now >= kept.ends:
                raise MissingReference(f"failed to fetch token: {error}") from error
            self._log.warning("a token was not renewed: %s", error, extra=about(pod))
        return kept.token

    def forget(self, uid: str) -> None:
        self._kept = {key: kept for key, kept in self._kept.items() if key[0] != uid}

    async def _ask(self, pod: Pod, audience: str, seconds: int, now: datetime) -> _Kept:
        account, namespace = pod.spec.service_account_name or "default", pod.metadata.namespace
        bound = BoundObjectReference(kind="Pod", api_version="v1", name=pod.metadata.name, uid=pod.metadata.uid)
        spec = TokenRequestSpec(
            audiences=[audience] if audience else [], expiration_seconds=seconds, bound_object_ref=bound
        )
        asked = TokenRequest(metadata=ObjectMeta(name=account, namespace=namespace), spec=spec)
        made = await self._client.create(asked, subresource="token", name=account, namespace=namespace)
        ends = made.status.expiration_timestamp or now + timedelta(seconds=seconds)
        return _Kept(made.status.token.encode(), now + min(RENEW_AFTER * (ends - now), LONGEST_USE), ends)
