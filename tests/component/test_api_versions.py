"""Kinds in two versions have one storage; events are forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.tables.table import make_table
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.scheme import SCHEME
from kubeapi.types import autoscaling_v1, autoscaling_v2, core_v1, events_v1, meta_v1
from tests.component.test_api_auth import Clock

CTX = RequestContext()
CORE, NEW = SCHEME.resource_of(core_v1.Event), SCHEME.resource_of(events_v1.Event)
HPA1 = SCHEME.resource_of(autoscaling_v1.HorizontalPodAutoscaler)
HPA2 = SCHEME.resource_of(autoscaling_v2.HorizontalPodAutoscaler)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=SystemClock(), rng=Random(7)) as core:
        yield core


def event(name: str, last: datetime | None = None) -> core_v1.Event:
    about = core_v1.ObjectReference(kind="Pod", name="p", namespace="default")
    return core_v1.Event(
        metadata=meta_v1.ObjectMeta(name=name), involved_object=about, reason="R", message="m", last_timestamp=last
    )


async def test_an_event_of_either_group_is_seen_in_both(api: Api) -> None:
    seen = api.watch(CTX, NEW, "default", resource_version=str(api.cache.revision))
    await api.create(CTX, CORE, "default", event("old"))
    about = core_v1.ObjectReference(kind="Pod", name="p", namespace="default")
    made = events_v1.Event(
        metadata=meta_v1.ObjectMeta(name="new"), regarding=about, note="n", event_time="2026-01-01T00:00:00.000000Z"
    )
    await api.create(CTX, NEW, "default", made)
    found = await api.list(CTX, CORE, "default", field_selector="involvedObject.name=p")
    assert [i.object.message for i in found.items] == ["n", "m"]
    shown = (await api.get(CTX, NEW, "default", "old")).object
    assert (shown.kind, shown.api_version, shown.note) == ("Event", "events.k8s.io/v1", "m")
    names: list[str] = []
    async with asyncio.timeout(5):
        async for batch in seen:
            names += [e.item.object.note for e in batch if e.item]
            if len(names) == 2:
                break
    assert names == ["m", "n"]
    await api.patch(CTX, NEW, "default", "old", {"note": "changed"}, "merge")
    assert (await api.get(CTX, CORE, "default", "old")).object.message == "changed"
    table = make_table(NEW, (await api.list(CTX, NEW, "default")).items, api.now(), revision=1)
    assert table.column_definitions[1].name == "Type"
    await api.delete(CTX, NEW, "default", "old")
    assert len((await api.list(CTX, CORE, "default")).items) == 1


async def test_an_event_nobody_tells_of_for_an_hour_is_forgotten() -> None:
    clock = Clock(datetime(2026, 1, 1, tzinfo=UTC))
    async with api_core(store=EmbeddedStore(), clock=clock, rng=Random(7)) as api:
        await api.create(CTX, CORE, "default", event("quiet"))
        await api.create(CTX, CORE, "default", event("told"))
        clock.ahead = timedelta(minutes=50)
        told = {"lastTimestamp": clock.now().isoformat()}
        await api.patch(CTX, CORE, "default", "told", told, "merge")
        await api.cache.fresh()
        assert await api.forget_events() == 0
        clock.ahead = timedelta(minutes=61)
        assert await api.forget_events() == 1
        assert [i.object.metadata.name for i in (await api.list(CTX, CORE)).items] == ["told"]


async def test_an_autoscaler_keeps_in_one_version_what_only_the_other_can_say(api: Api) -> None:
    memory = autoscaling_v2.MetricSpec(
        type="Resource",
        resource=autoscaling_v2.ResourceMetricSource(
            name="memory", target=autoscaling_v2.MetricTarget(type="AverageValue", average_value="1Gi")
        ),
    )
    ref = autoscaling_v2.CrossVersionObjectReference(kind="Deployment", name="web", api_version="apps/v1")
    spec = autoscaling_v2.HorizontalPodAutoscalerSpec(scale_target_ref=ref, max_replicas=3, metrics=[memory])
    made = autoscaling_v2.HorizontalPodAutoscaler(metadata=meta_v1.ObjectMeta(name="h"), spec=spec)
    await api.create(CTX, HPA2, "default", made)
    patch = {"spec": {"targetCPUUtilizationPercentage": 70}}
    old = (await api.patch(CTX, HPA1, "default", "h", patch, "merge")).object
    assert (old.api_version, old.spec.target_cpu_utilization_percentage) == ("autoscaling/v1", 70)
    new = (await api.get(CTX, HPA2, "default", "h")).object
    assert [m.resource.name for m in new.spec.metrics if m.resource] == ["cpu", "memory"]
    assert new.metadata.annotations == {}
