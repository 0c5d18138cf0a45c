"""The store commits a write, and its answer is lost: what the API then says, and what it must not give away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from random import Random

import msgspec
import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from controlplane.storage.errors import OutcomeUnknown, StoreFull, ValueTooLarge
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import RequestEntityTooLarge, ServiceUnavailable, Timeout
from kubeapi.types import core_v1, meta_v1

CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
SERVICES = "/registry/core/services/"


class LosesAnswers(EmbeddedStore):
    """Commits, and then says that it does not know."""

    loses = ""
    """Prefix of the keys whose answers are lost."""
    full = False

    async def create(self, key: str, value: bytes) -> int:
        if len(value) > 500_000:
            raise ValueTooLarge("request is too large")
        if self.full:
            raise StoreFull("no room")
        revision = await super().create(key, value)
        if self.loses and key.startswith(self.loses):
            raise OutcomeUnknown("the connection broke")
        return revision


@pytest.fixture
def store() -> LosesAnswers:
    return LosesAnswers()


@pytest.fixture
async def api(store: LosesAnswers) -> AsyncIterator[Api]:
    async with api_core(store=store, clock=CLOCK, rng=Random(1)) as api:
        yield api


def service(name: str, address: str = "") -> core_v1.Service:
    return core_v1.Service(
        metadata=meta_v1.ObjectMeta(name=name, namespace="default"),
        spec=core_v1.ServiceSpec(cluster_ip=address, ports=[core_v1.ServicePort(port=80)]),
    )


async def test_an_unknown_outcome_is_a_timeout_that_no_client_repeats_by_itself(api: Api, store: LosesAnswers) -> None:
    client = LocalClient(api, context=RequestContext)
    store.loses = "/registry/core/configmaps/"
    with pytest.raises(Timeout) as caught:
        await client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(generate_name="made-", namespace="default")))
    assert caught.value.retry_after == 0
    assert len((await client.list(core_v1.ConfigMap, "default")).items) == 1


async def test_the_address_of_a_service_that_may_exist_is_not_given_to_another(api: Api, store: LosesAnswers) -> None:
    client = LocalClient(api, context=RequestContext)
    store.loses = SERVICES
    with pytest.raises(Timeout):
        await client.create(service("lost"))
    store.loses = ""
    address = (await client.get(core_v1.Service, "lost", "default")).spec.cluster_ip
    with pytest.raises(Exception, match="already allocated"):
        await client.create(service("other", address))


async def test_a_full_store_is_told_at_once(api: Api, store: LosesAnswers) -> None:
    client = LocalClient(api, context=RequestContext)
    store.full = True
    with pytest.raises(ServiceUnavailable, match="the store is full") as caught:
        await client.create(core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace="default")))
    assert caught.value.retry_after == 0


async def test_an_object_too_large_for_the_store_is_413(api: Api) -> None:
    client = LocalClient(api, context=RequestContext)
    with pytest.raises(RequestEntityTooLarge):
        big = core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name="a", namespace="default", annotations={"a": ""}))
        await client.create(msgspec.structs.replace(big, binary_data={"a": b"x" * 600_000}))
