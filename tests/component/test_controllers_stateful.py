"""StatefulSets on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from kubeapi.client.interface import Client
from kubeapi.types import apps_v1, core_v1, meta_v1
from tests.component.workloads_world import LABELS, controllers, meta, nodes, pods, template
from tests.support.until import until

pytestmark = [pytest.mark.looptime]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with controllers() as made:
        yield made


def stateful(replicas: int = 3, notes: Mapping[str, str] | None = None, **spec: Any) -> apps_v1.StatefulSet:
    return apps_v1.StatefulSet(
        metadata=meta("db"),
        spec=apps_v1.StatefulSetSpec(
            replicas=replicas,
            service_name="db",
            selector=meta_v1.LabelSelector(match_labels=LABELS),
            template=template(**(notes or {})),
            **spec,
        ),
    )


def rolling(partition: int = 0) -> apps_v1.StatefulSetUpdateStrategy:
    return apps_v1.StatefulSetUpdateStrategy(
        type="RollingUpdate", rolling_update=apps_v1.RollingUpdateStatefulSetStrategy(partition=partition)
    )


async def set_image(client: Client, image: str) -> None:
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await client.patch(apps_v1.StatefulSet, "db", change, kind="strategic", namespace="default")


def shows(**fields: int) -> Any:
    return lambda found: all(getattr(found[0].status, name) == value for name, value in fields.items())


async def images(client: Client) -> dict[str, str]:
    return {p.metadata.name: p.spec.containers[0].image for p in await pods(client)}


async def test_pods_come_one_after_the_other_and_go_in_reverse(client: Client) -> None:
    async with nodes(client, "a") as kubelet:
        await client.create(stateful())
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=3))
        assert kubelet.ready == ["db-0", "db-1", "db-2"]
        (pod, *_) = sorted(await pods(client), key=lambda p: p.metadata.name)
        assert (pod.spec.hostname, pod.spec.subdomain) == ("db-0", "db")
        assert pod.metadata.labels["apps.kubernetes.io/pod-index"] == "0"
        await client.patch(apps_v1.StatefulSet, "db", {"spec": {"replicas": 1}}, namespace="default")
        await until(client, core_v1.Pod, lambda p: [x.metadata.name for x in p] == ["db-0"])
        assert kubelet.gone == ["db-2", "db-1"]


async def test_the_next_pod_waits_for_the_one_before_it_unless_parallel(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(stateful(notes={"unready": "x"}))
        await asyncio.sleep(120)
        assert [p.metadata.name for p in await pods(client)] == ["db-0"]
        await client.delete(apps_v1.StatefulSet, "db", "default")
        await until(client, core_v1.Pod, lambda p: not p)
        await client.create(stateful(notes={"unready": "x"}, pod_management_policy="Parallel"))
        await until(client, core_v1.Pod, lambda p: len(p) == 3)


async def test_a_deleted_pod_comes_back_under_its_name_with_its_claim(client: Client) -> None:
    async with nodes(client, "a"):
        claim = core_v1.PersistentVolumeClaim(
            metadata=meta_v1.ObjectMeta(name="data"),
            spec=core_v1.PersistentVolumeClaimSpec(
                access_modes=["ReadWriteOnce"],
                storage_class_name="none",
                resources=core_v1.VolumeResourceRequirements(requests={"storage": "1Gi"}),
            ),
        )
        await client.create(stateful(2, volume_claim_templates=[claim]))
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=2))
        before = await client.get(core_v1.Pod, "db-0", "default")
        claims = {
            c.metadata.name: c.metadata.uid for c in (await client.list(core_v1.PersistentVolumeClaim, "default")).items
        }
        assert sorted(claims) == ["data-db-0", "data-db-1"]
        await client.delete(core_v1.Pod, "db-0", "default")
        await until(
            client, core_v1.Pod, lambda p: len(p) == 2 and before.metadata.uid not in {x.metadata.uid for x in p}
        )
        await client.patch(apps_v1.StatefulSet, "db", {"spec": {"replicas": 0}}, namespace="default")
        await until(client, core_v1.Pod, lambda p: not p)
        kept = {
            c.metadata.name: c.metadata.uid for c in (await client.list(core_v1.PersistentVolumeClaim, "default")).items
        }
        assert kept == claims
        keep = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        change = {"spec": {"replicas": 2, "persistentVolumeClaimRetentionPolicy": keep}}
        await client.patch(apps_v1.StatefulSet, "db", change, namespace="default")
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=2))
        await client.patch(apps_v1.StatefulSet, "db", {"spec": {"replicas": 1}}, namespace="default")
        await until(client, core_v1.PersistentVolumeClaim, lambda c: [x.metadata.name for x in c] == ["data-db-0"])
        await client.delete(apps_v1.StatefulSet, "db", "default")
        await until(client, core_v1.PersistentVolumeClaim, lambda c: not c)


async def test_a_new_template_goes_from_the_end_down_to_the_partition(client: Client) -> None:
    async with nodes(client, "a") as kubelet:
        await client.create(stateful(update_strategy=rolling(partition=1)))
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=3))
        await set_image(client, "app:2")
        await until(client, apps_v1.StatefulSet, shows(updated_replicas=2, ready_replicas=3))
        assert kubelet.gone == ["db-2", "db-1"]
        await client.delete(core_v1.Pod, "db-0", "default")
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=2))
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=3))
        assert await images(client) == {"db-0": "app:1", "db-1": "app:2", "db-2": "app:2"}
        await client.patch(
            apps_v1.StatefulSet, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}},
            namespace="default",
        )  # fmt: skip
        (done,) = await until(
            client, apps_v1.StatefulSet, shows(updated_replicas=3, ready_replicas=3, current_replicas=3)
        )
        assert done.status.current_revision == done.status.update_revision
        assert set((await images(client)).values()) == {"app:2"}


async def test_a_broken_template_is_left_behind_by_going_back(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(stateful(update_strategy=rolling()))
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=3))
        broken = {"spec": {"template": {"metadata": {"annotations": {"test/unready": "x"}}}}}
        await client.patch(apps_v1.StatefulSet, "db", broken, namespace="default")
        await asyncio.sleep(60)
        (found,) = (await client.list(apps_v1.StatefulSet, "default")).items
        assert (found.status.ready_replicas, found.status.updated_replicas) == (2, 1), "only one was given up"
        mended = {"spec": {"template": {"metadata": {"annotations": {"test/unready": None}}}}}
        await client.patch(apps_v1.StatefulSet, "db", mended, namespace="default")
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=3, updated_replicas=3))
        history = (await client.list(apps_v1.ControllerRevision, "default")).items
        assert sorted(r.revision for r in history) == [2, 3], "the first one, made the newest"


async def test_with_on_delete_only_deleted_pods_change(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(stateful(2, update_strategy=apps_v1.StatefulSetUpdateStrategy(type="OnDelete")))
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=2))
        await set_image(client, "app:2")
        await asyncio.sleep(60)
        assert set((await images(client)).values()) == {"app:1"}
        await client.delete(core_v1.Pod, "db-0", "default")
        await until(client, apps_v1.StatefulSet, shows(ready_replicas=2, updated_replicas=1))
        assert await images(client) == {"db-0": "app:2", "db-1": "app:1"}
