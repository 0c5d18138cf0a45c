"""Pods that their node refuses at once: whoever makes them again takes ever longer, and goes on when it has been mended."""

from __future__ import annotations

import asyncio

import pytest

from kubeapi.types import apps_v1
from kubeapi.types.core_v1 import Pod
from tests.component.whole_world import Cluster, cluster
from tests.support.until import until

pytestmark = [pytest.mark.looptime]

SPEC = {
    "selector": {"matchLabels": {"app": "web"}},
    "template": {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"os": {"name": "windows"}, "containers": [{"name": "c", "image": "x:1"}]},
    },
}


async def pods_made(world: Cluster, seconds: float) -> int:
    """Names for ever new ones tell sets, uids tell stateful sets."""
    seen: set[str] = set()
    listing = await world.client.list(Pod, "default")
    seen.update(p.metadata.uid for p in listing.items)

    async def watch() -> None:
        async for batch in world.client.watch(Pod, "default", resource_version=listing.resource_version):
            seen.update(event.object.metadata.uid for event in batch if event.type == "ADDED")

    watching = asyncio.create_task(watch(), name="watch")
    await asyncio.sleep(seconds)
    watching.cancel()
    await asyncio.wait([watching])
    return len(seen)


@pytest.mark.parametrize(
    ("kind", "more", "most"),
    [
        ("Deployment", {"replicas": 2}, 40),
        ("ReplicaSet", {"replicas": 2}, 40),
        ("StatefulSet", {"replicas": 2, "serviceName": "web"}, 12),
        ("DaemonSet", {}, 12),
    ],
)
async def test_refused_pods_are_made_ever_more_seldom(kind: str, more: dict[str, object], most: int) -> None:
    async with cluster() as world:
        made = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "web"}, "spec": {**SPEC, **more}}
        assert await world.ask("POST", f"/apis/apps/v1/namespaces/default/{kind.lower()}s", made)
        assert 4 < await pods_made(world, 300) <= most


async def test_a_mended_template_is_not_held_back() -> None:
    async with cluster() as world:
        path = "/apis/apps/v1/namespaces/default/deployments"
        made = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            "spec": {**SPEC, "replicas": 2},
        }
        assert await world.ask("POST", path, made)
        await asyncio.sleep(300)
        mended = {"spec": {"template": {"spec": {"os": None}}}}
        assert await world.ask("PATCH", f"{path}/web", mended, "application/merge-patch+json")
        await until(world.client, apps_v1.Deployment, lambda found: found[0].status.available_replicas == 2, seconds=10)
