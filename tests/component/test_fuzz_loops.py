"""Odd objects and odd statuses, against all that acts on them: what the API accepts makes no controller, scheduler or node
agent stumble, and keeps nobody else from being served."""

from __future__ import annotations

import asyncio
import logging
from random import Random
from urllib.parse import quote

import pytest

from kubeapi.meta import replace
from kubeapi.schema import descriptor_of, fields_of
from kubeapi.types import apps_v1, core_v1
from kubeapi.types.meta_v1 import ObjectMeta
from tests.component.whole_world import Cluster, cluster
from tests.support.make import make_deployment
from tests.support.odd_objects import disturb, nearly_right, resource_of
from tests.support.until import until

pytestmark = [pytest.mark.looptime, pytest.mark.timeout(120)]

WRITES = 500
WORKLOADS = (
    "/apis/apps/v1/namespaces/default/deployments",
    "/apis/apps/v1/namespaces/default/replicasets",
    "/apis/apps/v1/namespaces/default/statefulsets",
    "/apis/apps/v1/namespaces/default/daemonsets",
    "/apis/batch/v1/namespaces/default/cronjobs",
    "/apis/batch/v1/namespaces/default/jobs",
    "/api/v1/namespaces/default/replicationcontrollers",
    "/api/v1/namespaces/default/pods",
)


async def write(world: Cluster, rng: Random) -> None:
    """One thing that a user, or somebody in a controller's place, may do."""
    made = nearly_right(rng)
    resource = resource_of(made)
    metadata = made.get("metadata")
    name = metadata.get("name", "a") if isinstance(metadata, dict) else "a"
    path = f"{resource.path('default')}/{quote(str(name))}"
    match rng.choices(("POST", "PUT", "PATCH", "DELETE", "status"), (50, 15, 5, 10, 20))[0]:
        case "POST":
            await world.ask("POST", resource.path("default"), made)
        case "PATCH":
            await world.ask("PATCH", path, made, "application/merge-patch+json")
        case "DELETE":
            await world.ask("DELETE", path, {"gracePeriodSeconds": 0})
        case "PUT":
            await world.ask("PUT", path, made)
        case _:
            status = fields_of(descriptor_of(resource.type)).get("status")
            held = await world.ask("GET", path) if status is not None else None
            if held is not None and status is not None:
                disturb(held.setdefault("status", {}), status.message, rng)
                await world.ask("PUT", f"{path}/status", held)


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_accepted_can_be_acted_on(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    rng = Random(seed)
    async with cluster() as world:
        for i in range(WRITES):
            await write(world, rng)
            await asyncio.sleep(20.0 if i % 100 == 99 else 0.05)
        refused = sum(n for (_, status), n in world.answers.items() if status in (400, 422))
        done = sum(n for (_, status), n in world.answers.items() if status < 300)
        assert done > WRITES / 4 and refused > WRITES / 20, world.answers
        assert not [loop.get_name() for loop in world.loops if loop.done()]

        for path in WORKLOADS:  # what asked for all of a node has no claim to it any more
            await world.ask("DELETE", path, {"gracePeriodSeconds": 0})
        await world.client.create(core_v1.Namespace(metadata=ObjectMeta(name="calm")))
        await world.client.create(
            replace(make_deployment(replicas=3), metadata=ObjectMeta(name="web", namespace="calm"))
        )
        await until(
            world.client,
            apps_v1.Deployment,
            lambda found: bool(found) and found[0].status.available_replicas == 3,
            namespace="calm",
        )
    assert not [r.getMessage() + (r.exc_text or "") for r in caplog.records if r.levelno >= logging.ERROR]
