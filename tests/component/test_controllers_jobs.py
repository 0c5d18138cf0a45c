"""Jobs and CronJobs on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from kubeapi.client.interface import Client
from kubeapi.errors import Invalid, NotFound
from kubeapi.meta import replace
from kubeapi.types import batch_v1, core_v1
from tests.component.workloads_world import CLOCK, controllers, meta, nodes, pods, template
from tests.support.until import until

pytestmark = [pytest.mark.looptime]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with controllers() as made:
        yield made


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
