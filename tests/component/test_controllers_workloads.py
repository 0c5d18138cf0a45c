"""DaemonSets, Jobs and budgets on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.errors import Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.types import apps_v1, batch_v1, core_v1, meta_v1, policy_v1
from sampan.controllers import manager
from tests.support.fake_kubelet import FakeKubelet
from tests.support.make import make_node, make_template
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
LABELS = {"app": "web"}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=Random(3)) as api:
        local = LocalClient(api, context=RequestContext)
        running = asyncio.create_task(manager(local, clock=CLOCK, rng=Random(7)).run(), name="controllers")
        yield local
        running.cancel()
        await asyncio.wait([running])


@asynccontextmanager
async def nodes(client: Client, *names: str) -> AsyncIterator[FakeKubelet]:
    async with asyncio.TaskGroup() as tasks:
        kubelet = FakeKubelet(client, CLOCK, tasks)
        await kubelet.start(*names)
        yield kubelet
        kubelet.stop()


def template(image: str = "app:1", **notes: str) -> core_v1.PodTemplateSpec:
    made = make_template(LABELS, image)
    annotations = {f"test/{key}": value for key, value in notes.items()}
    return replace(made, metadata=replace(made.metadata, annotations=annotations))


def meta(name: str) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace="default")


async def pods(client: Client) -> list[core_v1.Pod]:
    return (await client.list(core_v1.Pod, "default")).items


# ------------------------------------------------------------------ DaemonSets


def daemons(**spec: Any) -> apps_v1.DaemonSet:
    selector = meta_v1.LabelSelector(match_labels=LABELS)
    return apps_v1.DaemonSet(
        metadata=meta("d"), spec=apps_v1.DaemonSetSpec(selector=selector, template=template(), **spec)
    )


async def test_every_node_that_suits_has_one_daemon_also_those_that_come_later(client: Client) -> None:
    async with nodes(client, "a", "b") as kubelet:
        taint = core_v1.Taint(key="only", value="x", effect="NoSchedule")
        await kubelet.add_node(make_node("tainted", taints=[taint]))
        await kubelet.add_node(make_node("cordoned", unschedulable=True))
        await client.create(daemons())
        (found,) = await until(client, apps_v1.DaemonSet, lambda d: d[0].status.number_available == 3)
        assert (found.status.desired_number_scheduled, found.status.number_misscheduled) == (3, 0)
        await kubelet.add_node(make_node("late"))
        await until(client, core_v1.Pod, lambda p: {x.spec.node_name for x in p} == {"a", "b", "cordoned", "late"})
        await client.delete(core_v1.Node, "b")
        await until(client, core_v1.Pod, lambda p: {x.spec.node_name for x in p} == {"a", "cordoned", "late"})


@pytest.mark.parametrize("rolling", [{}, {"max_surge": 1, "max_unavailable": 0}, {"max_unavailable": "50%"}])
async def test_a_new_template_reaches_every_node_within_bounds(client: Client, rolling: Mapping[str, Any]) -> None:
    names = [f"n{i}" for i in range(4)]
    async with nodes(client, *names):
        update = apps_v1.DaemonSetUpdateStrategy(
            type="RollingUpdate", rolling_update=apps_v1.RollingUpdateDaemonSet(**rolling)
        )
        await client.create(daemons(update_strategy=update))
        await until(client, apps_v1.DaemonSet, lambda d: d[0].status.number_available == 4)
        await client.patch(
            apps_v1.DaemonSet, "d", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "app:2"}]}}}},
            kind="strategic", namespace="default",
        )  # fmt: skip
        least = {"max_surge": 4, "max_unavailable": 2}.get(next(iter(rolling), ""), 3)
        worst = 4
        async with asyncio.timeout(300):
            while True:
                live = await pods(client)
                serving = {
                    p.spec.node_name
                    for p in live
                    if p.metadata.deletion_timestamp is None and any(c.status == "True" for c in p.status.conditions)
                }
                worst = min(worst, len(serving))
                if [p.spec.containers[0].image for p in live] == ["app:2"] * 4 and len(serving) == 4:
                    break
                await asyncio.sleep(0.2)
        assert worst >= least
        await until(client, apps_v1.DaemonSet, lambda d: d[0].status.updated_number_scheduled == 4)
        history = (await client.list(apps_v1.ControllerRevision, "default")).items
        assert sorted(r.revision for r in history) == [1, 2]


async def test_a_daemon_that_fails_comes_back_later_and_later(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(replace(daemons(), spec=replace(daemons().spec, template=template(ends="1", fails="x"))))
        revision = (await client.list(core_v1.Pod, "default")).resource_version
        await asyncio.sleep(300)
        made = set()
        async with asyncio.timeout(1):
            async for batch in client.watch(core_v1.Pod, "default", resource_version=revision):
                made |= {e.object.metadata.uid for e in batch if e.type == "ADDED"}
                if len(made) >= 5:
                    break
        assert 5 <= len(made) <= 9


# ------------------------------------------------------------------ Jobs


def job(name: str = "j", notes: Mapping[str, str] | None = None, **spec: Any) -> batch_v1.Job:
    made = template(**({"ends": "5"} if notes is None else notes))
    made = replace(made, metadata=replace(made.metadata, labels={}), spec=replace(made.spec, restart_policy="Never"))
    return batch_v1.Job(metadata=meta(name), spec=batch_v1.JobSpec(template=made, **spec))


def finished(type_: str) -> Any:
    return lambda jobs: bool(jobs) and any(c.type == type_ and c.status == "True" for c in jobs[0].status.conditions)


async def test_a_job_runs_its_pods_to_the_end_a_few_at_a_time(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(completions=5, parallelism=2))
        most = 0
        async with asyncio.timeout(600):
            while not finished("Complete")((await client.list(batch_v1.Job, "default")).items):
                most = max(most, sum(p.status.phase in ("Pending", "Running") for p in await pods(client)))
                await asyncio.sleep(0.5)
        done = await client.get(batch_v1.Job, "j", "default")
        assert (most, done.status.succeeded, done.status.failed, done.status.active) == (2, 5, 0, 0)
        assert done.status.completion_time is not None
        left = await pods(client)
        assert [p.metadata.finalizers for p in left] == [[]] * 5


async def test_a_job_gives_up_after_its_backoff_limit_and_waits_longer_each_time(client: Client) -> None:
    async with nodes(client, "a"):
        begun = CLOCK.monotonic()
        await client.create(job(notes={"ends": "1", "fails": "x"}, backoff_limit=2))
        (failed,) = await until(client, batch_v1.Job, finished("Failed"))
        assert failed.status.failed == 3
        reasons = {c.type: c.reason for c in failed.status.conditions}
        assert reasons == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
        assert 10 + 20 <= CLOCK.monotonic() - begun <= 60


async def test_every_index_succeeds_once(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(completions=4, parallelism=3, completion_mode="Indexed"))
        (done,) = await until(client, batch_v1.Job, finished("Complete"))
        assert done.status.completed_indexes == "0-3"
        found = await pods(client)
        assert sorted(p.spec.hostname for p in found) == ["j-0", "j-1", "j-2", "j-3"]
        assert all(p.metadata.name.startswith(p.spec.hostname + "-") for p in found)


async def test_pods_deleted_by_others_are_replaced_and_counted_as_failed(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(notes={"ends": "100"}))
        (pod,) = await until(client, core_v1.Pod, lambda p: len(p) == 1 and p[0].status.phase == "Running")
        await client.delete(core_v1.Pod, pod.metadata.name, "default")
        (done,) = await until(client, batch_v1.Job, finished("Complete"))
        assert (done.status.succeeded, done.status.failed) == (1, 1)


async def test_a_suspended_job_keeps_no_pods_and_counts_none(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(notes={"ends": "30"}, parallelism=2, completions=2))
        await until(client, core_v1.Pod, lambda p: [x.status.phase for x in p] == ["Running"] * 2)
        await client.patch(batch_v1.Job, "j", {"spec": {"suspend": True}}, namespace="default")
        await until(client, core_v1.Pod, lambda p: not p)
        (held,) = await until(client, batch_v1.Job, finished("Suspended"))
        assert (held.status.failed, held.status.start_time) == (0, None)
        await client.patch(batch_v1.Job, "j", {"spec": {"suspend": False}}, namespace="default")
        (done,) = await until(client, batch_v1.Job, finished("Complete"))
        assert (done.status.succeeded, done.status.failed) == (2, 0)


async def test_a_job_past_its_deadline_ends_its_pods_and_one_past_its_ttl_goes(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(notes={}, active_deadline_seconds=20, ttl_seconds_after_finished=60))
        (failed,) = await until(client, batch_v1.Job, finished("Failed"))
        assert [c.reason for c in failed.status.conditions] == ["DeadlineExceeded"] * 2
        ended = CLOCK.monotonic()
        await until(client, batch_v1.Job, lambda jobs: not jobs)
        assert 58 <= CLOCK.monotonic() - ended <= 70
        await until(client, core_v1.Pod, lambda p: not p)


async def test_a_deleted_job_lets_its_pods_go(client: Client) -> None:
    async with nodes(client, "a"):
        await client.create(job(notes={"ends": "1000"}))
        await until(client, core_v1.Pod, lambda p: len(p) == 1 and p[0].status.phase == "Running")
        await client.delete(batch_v1.Job, "j", "default", propagation="Background")
        await until(client, core_v1.Pod, lambda p: not p)


async def test_a_job_that_asks_for_what_is_not_there_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="backoffLimitPerIndex"):
        await client.create(job(backoff_limit_per_index=1, completions=1, completion_mode="Indexed"))
    always = job()
    with pytest.raises(Invalid, match="restartPolicy"):
        spec = replace(always.spec.template.spec, restart_policy="Always")
        await client.create(
            replace(always, spec=replace(always.spec, template=replace(always.spec.template, spec=spec)))
        )
    with pytest.raises(NotFound):
        await client.get(batch_v1.Job, "j", "default")


# ------------------------------------------------------------------ StatefulSets


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


# ------------------------------------------------------------------ CronJobs


def cron_job(schedule: str = "*/5 * * * *", ends: str = "5", **spec: Any) -> batch_v1.CronJob:
    inner = job(notes={"ends": ends}).spec
    return batch_v1.CronJob(
        metadata=meta("c"),
        spec=batch_v1.CronJobSpec(schedule=schedule, job_template=batch_v1.JobTemplateSpec(spec=inner), **spec),
    )


async def made_jobs(client: Client, since: int) -> list[str]:
    names: list[str] = []
    try:
        async with asyncio.timeout(0.5):
            async for batch in client.watch(batch_v1.Job, "default", resource_version=since):
                names += [e.object.metadata.name for e in batch if e.type == "ADDED"]
    except TimeoutError:
        pass
    return names


async def test_jobs_come_at_their_times_and_old_ones_are_forgotten(client: Client) -> None:
    async with nodes(client, "a"):
        since = (await client.list(batch_v1.Job, "default")).resource_version
        await client.create(cron_job(successful_jobs_history_limit=2))
        await asyncio.sleep(31 * 60)
        names = await made_jobs(client, since)
        midnight = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) // 60
        assert names == [f"c-{midnight + minute}" for minute in (5, 10, 15, 20, 25, 30)]
        left = (await client.list(batch_v1.Job, "default")).items
        assert sorted(j.metadata.name for j in left) == names[-2:]
        found = await client.get(batch_v1.CronJob, "c", "default")
        assert found.status.last_schedule_time == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
        assert found.status.active == []
        assert found.status.last_successful_time is not None


@pytest.mark.parametrize(("policy", "running", "made"), [("Allow", 4, 4), ("Forbid", 1, 1), ("Replace", 1, 4)])
async def test_what_happens_to_a_job_that_takes_too_long(client: Client, policy: str, running: int, made: int) -> None:
    async with nodes(client, "a"):
        since = (await client.list(batch_v1.Job, "default")).resource_version
        await client.create(cron_job(ends="100000", concurrency_policy=policy))
        await asyncio.sleep(21 * 60)
        assert len(await made_jobs(client, since)) == made
        assert len((await client.list(batch_v1.Job, "default")).items) == running
        found = await client.get(batch_v1.CronJob, "c", "default")
        assert len(found.status.active) == running


async def test_a_suspended_cron_job_starts_nothing_and_a_faulty_one_is_refused(client: Client) -> None:
    await client.create(cron_job(suspend=True))
    await asyncio.sleep(3600)
    assert (await client.list(batch_v1.Job, "default")).items == []
    with pytest.raises(Invalid, match="between 0 and 59"):
        await client.create(replace(cron_job("61 * * * *"), metadata=meta("bad")))
    with pytest.raises(Invalid, match="time zone"):
        await client.create(replace(cron_job(time_zone="Atlantis/Port"), metadata=meta("bad")))


# ------------------------------------------------------------------ budgets


async def test_a_budget_follows_its_pods(client: Client) -> None:
    async with nodes(client, "a") as kubelet:
        spec = policy_v1.PodDisruptionBudgetSpec(max_unavailable=1, selector=meta_v1.LabelSelector(match_labels=LABELS))
        await client.create(policy_v1.PodDisruptionBudget(metadata=meta("b"), spec=spec))
        await client.create(
            apps_v1.Deployment(
                metadata=meta("web"),
                spec=apps_v1.DeploymentSpec(
                    replicas=3, selector=meta_v1.LabelSelector(match_labels=LABELS), template=template()
                ),
            )
        )

        def shows(allowed: int, healthy: int) -> Any:
            return lambda b: (b[0].status.disruptions_allowed, b[0].status.current_healthy) == (allowed, healthy)

        await until(client, policy_v1.PodDisruptionBudget, shows(1, 3))
        await client.delete(core_v1.Pod, kubelet.ready[0], "default")
        await until(client, policy_v1.PodDisruptionBudget, shows(0, 2))
        await until(client, policy_v1.PodDisruptionBudget, shows(1, 3))
