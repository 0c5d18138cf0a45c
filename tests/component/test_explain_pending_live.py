"""explain-pending beside the scheduler itself: API server, scheduler and controllers in one process, and pods that find no node.

What it says must be the scheduler's own verdict, with its counts, and for each node the reason that kubectl-lite works out alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import pytest

from kubeapi.meta import get_condition, replace
from kubeapi.types import core_v1
from sampan import scheduler
from sampan.controllers import manager
from tests.component.kubectl_lite_world import World, world
from tests.support.make import make_node
from tests.support.until import until


@pytest.fixture
async def w() -> AsyncIterator[World]:
    """n1 (ssd) and n2 (hdd) of 4 cpus, n3 (hdd) of 2, tainted for databases."""
    async with world() as made:
        rng = Random(5)
        jobs = [
            asyncio.create_task(manager(made.client, clock=made.clock, rng=rng).run(), name="controllers"),
            asyncio.create_task(scheduler.run(made.client, clock=made.clock, rng=rng), name="scheduler"),
        ]
        for name, cpu, disk, taints in (
            ("n1", "4", "ssd", []),
            ("n2", "4", "hdd", []),
            ("n3", "2", "hdd", [core_v1.Taint(key="for", value="db", effect="NoSchedule")]),
        ):
            node = make_node(name, cpu=cpu, labels={"disk": disk}, taints=taints)
            await made.client.create(replace(node, metadata=replace(node.metadata, uid="", creation_timestamp=None)))
        yield made
        for job in jobs:
            job.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*jobs, return_exceptions=True)


def manifest(name: str, *, cpu: str = "100m", spec: str = "{}", labels: str = "{}") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {labels}}}
spec: {spec[:-1]}{", " if spec != "{}" else ""}containers: [{{name: c, image: app:1, resources: {{requests: {{cpu: {cpu}}}}}}}]}}
"""


async def explained(w: World, name: str) -> list[str]:
    """After the scheduler has looked at it. One blank between words."""

    def judged(pods: list[core_v1.Pod]) -> bool:
        pod = next(p for p in pods if p.metadata.name == name)
        said = get_condition(pod.status.conditions, "PodScheduled")
        return said is not None and said.status == "False" and said.reason == "Unschedulable"

    await until(w.client, core_v1.Pod, judged, seconds=10)
    return [" ".join(line.split()) for line in (await w.ok("explain-pending", name)).splitlines()]


def table(lines: list[str]) -> dict[str, list[str]]:
    """By node, what stands against it."""
    found: dict[str, list[str]] = {}
    node = ""
    for line in lines[lines.index("NODE WHY NOT WHAT WOULD HAVE TO CHANGE") + 1 :]:
        if not line:
            break
        name, _, rest = line.partition(" ")
        node, text = (name, rest) if name in ("n1", "n2", "n3") else (node, line)
        found.setdefault(node, []).append(text)
    return found


async def fill(w: World) -> None:
    """Three and a half cpus of n1 and of n2 are taken."""
    for name in ("big-1", "big-2"):
        await w.apply(manifest(name, cpu="3500m"))
    await until(w.client, core_v1.Pod, lambda pods: all(p.spec.node_name for p in pods), seconds=10)


DB = "taint for=db:NoSchedule tolerate it, or kubectl-lite taint nodes n3 for=db:NoSchedule-"


async def test_too_little_cpu(w: World) -> None:
    await fill(w)
    await w.apply(manifest("more", cpu="3"))
    lines = await explained(w, "more")
    assert lines[0] == "Pod default/more is pending: no node has been chosen for it."
    counted = "Scheduler: Unschedulable: 0/3 nodes are available: 1 node(s) had untolerated taint {for: db}, 2 Insufficient cpu. "
    assert lines[1].startswith(counted)
    short = "cpu: 3 asked for, 500m free (3500m of 4 taken) ask for less, or free 2500m"
    whole = "cpu: 3 asked for, 2 free (0 of 2 taken) ask for at most 2: the whole node has no more"
    assert table(lines) == {"n1": [short], "n2": [short], "n3": [DB, whole]}
    assert lines[-1] == "It takes one node of which everything has changed."


async def test_a_taint_on_the_only_node_that_would_do(w: World) -> None:
    await w.apply(manifest("there", spec="{nodeSelector: {kubernetes.io/hostname: n3}}"))
    lines = await explained(w, "there")
    assert "1 node(s) had untolerated taint {for: db}, 2 node(s) didn't match Pod's node affinity/selector" in lines[1]
    told = table(lines)
    assert told["n3"] == [DB]
    assert told["n1"] == [
        "nodeSelector wants kubernetes.io/hostname=n3, the node has kubernetes.io/hostname=n1 the label is the node's name: choose "
        "by another one in the pod"
    ]
    await w.ok("taint", "nodes", "n3", "for=db:NoSchedule-")
    await until(w.client, core_v1.Pod, lambda pods: [p.spec.node_name for p in pods] == ["n3"], seconds=10)
    assert "has been scheduled on node n3" in await w.ok("explain-pending", "there"), "what it says would help, helps"


async def test_a_node_selector_that_no_node_has(w: World) -> None:
    await w.apply(manifest("fast", spec="{nodeSelector: {disk: nvme}}"))
    lines = await explained(w, "fast")
    assert "1 node(s) had untolerated taint {for: db}, 2 node(s) didn't match Pod's node affinity/selector" in lines[1]
    told = table(lines)
    wants = "nodeSelector wants disk=nvme, the node has disk={} kubectl-lite label nodes {} disk=nvme --overwrite"
    assert told == {
        "n1": [wants.format("ssd", "n1")],
        "n2": [wants.format("hdd", "n2")],
        "n3": [DB, wants.format("hdd", "n3")],
    }
    await w.ok("label", "nodes", "n2", "disk=nvme", "--overwrite")
    await until(w.client, core_v1.Pod, lambda pods: [p.spec.node_name for p in pods] == ["n2"], seconds=10)


async def test_a_claim_that_nothing_binds(w: World) -> None:
    await w.apply("""
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {storageClassName: slow, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
""")
    await w.apply(manifest("stored", spec="{volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}"))
    lines = await explained(w, "stored")
    assert lines[1].startswith(
        "Scheduler: Unschedulable: 0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    )
    at = lines.index("Whatever the node:")
    assert lines[at + 1 : at + 3] == [
        "claim data is not bound: there is no storage class slow",
        "to change it: create it, or a volume of that class; classes: local-path",
    ]
    assert table(lines) == {"n1": ["<nothing on the node itself>"], "n2": ["<nothing on the node itself>"], "n3": [DB]}


async def test_pods_that_keep_apart(w: World) -> None:
    term = "{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}"
    spec = f"{{affinity: {{podAntiAffinity: {{requiredDuringSchedulingIgnoredDuringExecution: [{term}]}}}}}}"
    for number in range(2):
        await w.apply(manifest(f"web-{number}", spec=spec, labels="{app: web}"))
    await until(w.client, core_v1.Pod, lambda pods: {p.spec.node_name for p in pods} == {"n1", "n2"}, seconds=10)
    await w.apply(manifest("web-2", spec=spec, labels="{app: web}"))
    lines = await explained(w, "web-2")
    assert "1 node(s) had untolerated taint {for: db}, 2 node(s) didn't match pod anti-affinity rules." in lines[1]
    assert table(lines) == {"n1": ["<nothing on the node itself>"], "n2": ["<nothing on the node itself>"], "n3": [DB]}
    assert lines[-1].startswith("The scheduler also minds the pods that run already"), (
        "n1 and n2 need no change of theirs"
    )


async def test_for_programs_it_says_the_same(w: World) -> None:
    await fill(w)
    await w.apply(manifest("more", cpu="3"))
    await explained(w, "more")
    told = json.loads(await w.ok("explain-pending", "more", "-o", "json"))
    assert told["pod"] == "default/more" and "2 Insufficient cpu" in told["scheduler"] and told["everywhere"] == []
    assert [len(told["nodes"][node]) for node in ("n1", "n2", "n3")] == [1, 1, 2]
    assert told["nodes"]["n1"][0]["why"] == "cpu: 3 asked for, 500m free (3500m of 4 taken)"
