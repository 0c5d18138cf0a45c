"""Events in the words that users of Kubernetes know: docs/events.md is the table, and a whole cluster lives through it."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.claims import PROVISIONER
from kubeapi.client.interface import Client
from kubeapi.client.local import LocalClient
from kubeapi.clock import LoopClock
from kubeapi.meta import is_true, replace
from kubeapi.types import apps_v1, batch_v1, core_v1, meta_v1, storage_v1
from node_agent.agent import AgentTimes, NodeAgent
from node_agent.dialing import NowhereDialer
from node_agent.node_object import Machine
from node_agent.runtimes.hollow import Behaviour, HollowRuntime
from sampan import scheduler
from sampan.controllers import manager
from sampan.node import NodeConfig, build
from tests.support.until import until

pytestmark = [pytest.mark.looptime]
CLOCK = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
ROOT = Path(__file__).resolve().parents[2]
NOT_EVENTS = {"Unschedulable", "SchedulerError"}
"""Words that stand in such a call for something else: reasons of conditions."""


@dataclass(frozen=True)
class Row:
    reason: str
    type: str
    kinds: tuple[str, ...]
    components: tuple[str, ...]
    message: re.Pattern[str]

    def fits(self, event: core_v1.Event) -> bool:
        return (
            (event.reason, event.type) == (self.reason, self.type)
            and (self.kinds == ("any",) or event.involved_object.kind in self.kinds)
            and event.source.component in self.components
            and self.message.fullmatch(event.message.removeprefix("(combined from similar events): ")) is not None
        )


@cache
def table() -> list[Row]:
    rows = []
    for line in (ROOT / "docs/events.md").read_text().splitlines():
        if not line.startswith("| `"):
            continue
        reason, type_, kinds, components, message = (cell.strip().strip("`") for cell in line.strip("|").split(" | "))
        form = "".join(
            ".+" if part.startswith("<") else re.escape(part) for part in re.split(r"(<[^<>]+>)", message) if part
        )
        named = [tuple(cell.split(", ")) for cell in (kinds, components)]
        rows.append(Row(reason, type_, named[0], named[1], re.compile(form, re.DOTALL)))
    return rows


def reasons_in(path: Path) -> Iterator[str]:
    """Words that stand as reasons in calls that tell an event, and in plans that name one."""
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        if name == "say" and isinstance(call.func, ast.Name):
            continue  # a pod's conditions
        words = [a.value for a in call.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if name in ("event", "_say", "_warn", "say", "warn", "Unable", "_tell", "tell_of_node"):
            yield from (word for word in words if re.fullmatch("[A-Z][A-Za-z]{5,}", word) and word != "Warning")
        if name in ("ClaimPlan", "CronPlan", "replace_plan"):
            yield from (k.value.value for k in call.keywords if k.arg == "reason" and isinstance(k.value, ast.Constant))


def test_the_code_and_the_table_have_the_same_reasons() -> None:
    table_has = {row.reason for row in table()}
    files = [path for folder in ("controlplane", "node_agent") for path in (ROOT / folder).rglob("*.py")]
    text = "\n".join(path.read_text() for path in files)
    assert not {reason for reason in table_has if f'"{reason}"' not in text}, "only the table knows them"
    told = {reason for path in files for reason in reasons_in(path)} - {"", "Normal"}
    assert len(told) > 40, "the search finds what is told"
    assert not told - table_has - NOT_EVENTS, "docs/events.md does not know them"


def takes_pods(node: core_v1.Node) -> bool:
    return is_true(node.status.conditions, "Ready") and not node.spec.taints


class Cluster:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.runtimes: dict[str, HollowRuntime] = {}
        self.agents: dict[str, tuple[NodeAgent, asyncio.Task[None]]] = {}

    async def node(self, name: str) -> None:
        runtime = self.runtimes[name] = HollowRuntime(clock=CLOCK, prefix=name)
        for image, behaviour in BEHAVIOURS.items():
            runtime.script(image, behaviour)
        agent = build(
            NodeConfig(name=name, ip="192.0.2.1", data=Path("/nowhere")),
            self.client,
            runtime,
            machine=Machine(cpus=4, memory=8 << 30, disk=10 << 30),
            clock=CLOCK,
            rng=Random(1),
            dialer=NowhereDialer(),
            times=AgentTimes(lease=2.0, status=5.0, relist=2.0),
        )
        self.agents[name] = (agent, asyncio.create_task(agent.run(), name=name))
        await agent.ready.wait()
        await until(
            self.client, core_v1.Node, lambda all_: any(takes_pods(n) for n in all_ if n.metadata.name == name), ""
        )

    async def stop(self, name: str) -> None:
        _, task = self.agents.pop(name)
        task.cancel()
        await asyncio.wait([task])

    async def told(self, *wanted: str, seconds: float = 120) -> list[core_v1.Event]:
        """All events, once these reasons are among them."""
        for _ in range(round(seconds / 0.25)):
            events = (await self.client.list(core_v1.Event)).items
            if set(wanted) <= {event.reason for event in events}:
                return events
            await asyncio.sleep(0.25)
        have = sorted({event.reason for event in events})
        raise AssertionError(f"not told: {sorted(set(wanted) - set(have))}; told: {have}")


BEHAVIOURS = {
    "fails:1": Behaviour(exit_after=1.0, exit_code=1),
    "done:1": Behaviour(exit_after=1.0),
    "gone:1": Behaviour(absent=True),
    "ill:1": Behaviour(live_for=2.0),
    "deaf:1": Behaviour(ready_after=None),
    "slow:1": Behaviour(pull_seconds=1.5),
}


@asynccontextmanager
async def cluster() -> AsyncIterator[Cluster]:
    rng = Random(3)
    async with api_core(store=EmbeddedStore(), clock=CLOCK, rng=rng) as api:
        client = LocalClient(api, context=RequestContext)
        loops = manager(client, clock=CLOCK, rng=rng, node_monitor_grace=10.0, pod_eviction=5.0)
        jobs = [
            asyncio.create_task(loops.run(), name="controllers"),
            asyncio.create_task(scheduler.run(client, clock=CLOCK, rng=rng), name="scheduler"),
        ]
        made = Cluster(client)
        try:
            yield made
        finally:
            for name in list(made.agents):
                await made.stop(name)
            for job in jobs:
                job.cancel()
            await asyncio.wait(jobs)


def meta(name: str) -> meta_v1.ObjectMeta:
    return meta_v1.ObjectMeta(name=name, namespace="default", labels={"app": name})


def pod(name: str, image: str, **fields: Any) -> core_v1.Pod:
    spec: dict[str, Any] = {"containers": [core_v1.Container(name="main", image=image, **fields.pop("container", {}))]}
    return core_v1.Pod(metadata=meta(name), spec=core_v1.PodSpec(**(spec | fields)))


def template(name: str, image: str, **fields: Any) -> core_v1.PodTemplateSpec:
    return core_v1.PodTemplateSpec(
        metadata=meta_v1.ObjectMeta(labels={"app": name}), spec=pod(name, image, **fields).spec
    )


def known(events: Sequence[core_v1.Event]) -> None:
    """Every one is in the table, word for word."""
    odd = [
        f"{e.type} {e.reason} about {e.involved_object.kind} from {e.source.component}: {e.message}"
        for e in events
        if not any(row.fits(e) for row in table())
    ]
    assert not odd, "\n".join(odd)


async def test_the_life_of_pods() -> None:
    async with cluster() as c:
        await c.node("n1")
        ticks = core_v1.Probe(exec=core_v1.ExecAction(command=["true"]), period_seconds=1, failure_threshold=1)
        config = core_v1.Volume(name="cfg", config_map=core_v1.ConfigMapVolumeSource(name="missing"))
        for one in (
            pod("web", "slow:1"),
            pod("again", "web:1"),
            pod("crash", "fails:1"),
            pod("bad", "gone:1"),
            pod("odd", "No Image"),
            pod("never", "web:9", container={"image_pull_policy": "Never"}),
            pod("ill", "ill:1", container={"liveness_probe": ticks}),
            pod("deaf", "deaf:1", container={"readiness_probe": ticks}),
            pod("volume", "web:1", volumes=[config]),
            pod("short", "web:2", active_deadline_seconds=2),
            pod("nowhere", "web:1", node_selector={"disk": "gold"}),
        ):
            await c.client.create(one)
        await c.told("Pulled", "BackOff", "Unhealthy", "FailedMount", "InspectFailed", "DeadlineExceeded", "Failed")
        await asyncio.sleep(20)
        await c.client.delete(core_v1.Pod, "again", "default")
        events = await c.told(
            *("Scheduled", "FailedScheduling", "Pulling", "Pulled", "Created", "Started", "Killing", "BackOff"),
            *("Unhealthy", "FailedMount", "Failed", "InspectFailed", "ErrImageNeverPull", "DeadlineExceeded"),
        )
        known(events)

        def of(name: str) -> dict[str, core_v1.Event]:
            return {e.reason: e for e in events if e.involved_object.name == name}

        assert of("web")["Scheduled"].message == "Successfully assigned default/web to n1"
        assert of("web")["Pulled"].message.startswith('Successfully pulled image "slow:1" in 1.5s')
        assert of("web")["Started"].involved_object.field_path == "spec.containers{main}"
        assert (of("web")["Started"].source.component, of("web")["Started"].source.host) == ("kubelet", "n1")
        assert of("ill")["Killing"].message == "Container main failed liveness probe, will be restarted"
        assert of("deaf")["Unhealthy"].message == "Readiness probe failed: hollow: scripted to fail"
        assert of("deaf")["Unhealthy"].count > 3, "the same again is counted, not told again"
        assert of("nowhere")["FailedScheduling"].message.startswith("0/1 nodes are available: 1 node(s) didn't match")
        assert of("volume")["FailedMount"].message.startswith('MountVolume.SetUp failed for volume "cfg" : configmap')
        assert {"Normal", "Warning"} == {e.type for e in events if e.reason == "BackOff"}
        assert len([e for e in events if e.involved_object.name == "deaf" and e.reason == "Unhealthy"]) == 1


async def test_the_life_of_workloads() -> None:
    async with cluster() as c:
        await c.node("n1")
        selector = meta_v1.LabelSelector(match_labels={"app": "web"})
        spec = apps_v1.DeploymentSpec(replicas=3, selector=selector, template=template("web", "web:1"))
        await c.client.create(apps_v1.Deployment(metadata=meta("web"), spec=spec))
        await c.told("ScalingReplicaSet", "SuccessfulCreate")
        await c.client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 1}}, namespace="default")
        claim = core_v1.PersistentVolumeClaim(
            metadata=meta_v1.ObjectMeta(name="data"),
            spec=core_v1.PersistentVolumeClaimSpec(
                access_modes=["ReadWriteOnce"],
                storage_class_name="local",
                resources=core_v1.VolumeResourceRequirements(requests={"storage": "1Gi"}),
            ),
        )
        await c.client.create(
            storage_v1.StorageClass(
                metadata=meta_v1.ObjectMeta(name="local"), provisioner=PROVISIONER,
                volume_binding_mode="WaitForFirstConsumer",
            )
        )  # fmt: skip
        sets = apps_v1.StatefulSetSpec(
            replicas=2, selector=meta_v1.LabelSelector(match_labels={"app": "db"}), service_name="db",
            template=template("db", "web:1"), volume_claim_templates=[claim],
        )  # fmt: skip
        await c.client.create(apps_v1.StatefulSet(metadata=meta("db"), spec=sets))
        every = apps_v1.DaemonSetSpec(
            selector=meta_v1.LabelSelector(match_labels={"app": "agent"}), template=template("agent", "web:1")
        )
        await c.client.create(apps_v1.DaemonSet(metadata=meta("agent"), spec=every))
        for name, image in (("good", "done:1"), ("bad", "fails:1")):
            job = batch_v1.JobSpec(template=template(name, image, restart_policy="Never"), backoff_limit=0)
            await c.client.create(batch_v1.Job(metadata=meta(name), spec=job))
        inner = batch_v1.JobSpec(template=template("tick", "done:1", restart_policy="Never"))
        cron = batch_v1.CronJobSpec(
            schedule="* * * * *", job_template=batch_v1.JobTemplateSpec(spec=inner), successful_jobs_history_limit=0
        )
        await c.client.create(batch_v1.CronJob(metadata=meta("tick"), spec=cron))
        lost = replace(claim, metadata=meta("lost"), spec=replace(claim.spec, storage_class_name="platinum"))
        await c.client.create(lost)
        await c.told("ProvisioningSucceeded", "Completed", "BackoffLimitExceeded", "SawCompletedJob", seconds=200)
        await c.client.patch(apps_v1.StatefulSet, "db", {"spec": {"replicas": 1}}, namespace="default")
        await asyncio.sleep(60)
        events = await c.told("WaitForFirstConsumer", "SuccessfulDelete", "ProvisioningFailed")
        known(events)
        told = {(e.involved_object.kind, e.reason, e.source.component): e.message for e in events}
        for kind in ("ReplicaSet", "DaemonSet", "Job", "StatefulSet", "CronJob"):
            assert (kind, "SuccessfulCreate", f"{kind.lower()}-controller") in told
        for kind in ("ReplicaSet", "StatefulSet", "CronJob"):
            assert (kind, "SuccessfulDelete", f"{kind.lower()}-controller") in told
        scaled = sorted(e.message for e in events if e.reason == "ScalingReplicaSet")
        assert re.fullmatch(r"Scaled down replica set web-\w+ from 3 to 1", scaled[0])
        assert re.fullmatch(r"Scaled up replica set web-\w+ from 0 to 3", scaled[1])


async def test_the_life_of_nodes() -> None:
    async with cluster() as c:
        await c.node("n1")
        await c.node("n2")
        await c.client.create(pod("web", "web:1", node_name="n2"))
        await c.told("Started", "RegisteredNode", "NodeReady")
        await c.client.patch(core_v1.Node, "n1", {"spec": {"unschedulable": True}})
        await c.told("NodeNotSchedulable")
        await c.client.patch(core_v1.Node, "n1", {"spec": {"unschedulable": None}})
        await c.stop("n2")
        await c.told("NodeNotReady", "TaintManagerEviction")
        await c.client.delete(core_v1.Node, "n2")
        events = await c.told("RemovingNode", "NodeSchedulable")
        known(events)
        about = {(e.involved_object.kind, e.involved_object.name, e.reason) for e in events}
        for reason in ("Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"):
            assert {("Node", "n1", reason), ("Node", "n2", reason)} <= about
        assert ("Pod", "web", "NodeNotReady") in about and ("Node", "n2", "NodeNotReady") in about
        assert ("Node", "n1", "NodeNotReady") not in about
