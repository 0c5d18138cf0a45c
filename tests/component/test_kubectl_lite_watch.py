"""kubectl-lite's verbs that wait: get -w, wait, rollout status, and explain-pending; against a real server in process."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubeapi.errors import NotFound
from kubectl_lite.server import Server
from tests.component.kubectl_lite_world import World, world

POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: i}]}\n"
NODE = (
    "apiVersion: v1\nkind: Node\nmetadata: {name: %s}\nspec: {unschedulable: %s}\n"
    "status: {allocatable: {cpu: '%s', memory: 1Gi, pods: '10'}}\n"
)


class Counting:
    """A Server that knows what it was asked."""

    def __init__(self, inner: Server) -> None:
        self._inner = inner
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._inner, name)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(here=tmp_path) as made:
        yield made


async def test_get_w_prints_a_row_for_every_change_under_one_header(w: World) -> None:
    await w.apply(POD % "a")
    async with w.going_on("get", "pods", "-w") as (out, _):
        await out.lines(2)
        await w.apply(POD % "a-long-name")
        await w.ok("label", "pod", "a", "x=y")
        await w.ok("delete", "pod", "a", "--grace-period=0", "--force")
        lines = await out.lines(5)
    assert lines[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [line.split()[0] for line in lines[1:5]] == ["a", "a-long-name", "a", "a"]
    assert lines[3].index("0/1") > lines[1].index("0/1"), "later rows go with the widest name so far"


async def test_get_w_of_one_name_events_and_objects(w: World) -> None:
    await w.apply(POD % "a")
    await w.apply(POD % "b")
    async with (
        w.going_on("get", "pod", "a", "-w", "--output-watch-events", "--no-headers") as (out, _),
        w.going_on("get", "pod", "a", "-w", "-o", "name") as (names, _),
        w.going_on("get", "pod", "a", "--watch-only", "-o", "jsonpath={.metadata.labels}{'\\n'}") as (labels, _),
        w.going_on("get", "pods", "-w", "-l", "x=y") as (chosen, _),
    ):
        await out.lines(1)
        await names.lines(1)
        await w.ok("label", "pod", "b", "x=other")
        await w.ok("label", "pod", "a", "x=y")
        assert [line.split()[:2] for line in await out.lines(2)] == [["ADDED", "a"], ["MODIFIED", "a"]]
        assert await names.lines(2) == ["pod/a", "pod/a"]
        assert (await labels.lines(1))[-1] == '{"x":"y"}'
        assert [line.split()[0] for line in await chosen.lines(2)] == ["NAME", "a"]
    missing = await w.run("get", "pod", "nope", "-w")
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): pods "nope" not found\n')


async def test_a_watch_asks_the_server_once(w: World) -> None:
    """Rows come with the events; nothing is asked again for each."""
    await w.apply(POD % "a")
    counting = Counting(w.server)
    w.server = counting  # type: ignore[assignment]
    async with w.going_on("get", "pods", "-w") as (out, _):
        await out.lines(2)
        for number in range(5):
            await w.ok("label", "pod", "a", f"x=y{number}", "--overwrite")
        await out.lines(7)
    assert counting.asked.count("table") == 1


async def test_wait_tells_a_person_how_far_it_is(w: World) -> None:
    await w.apply(POD % "a")
    async with w.going_on("wait", "pod/a", "--for=condition=Ready", live=True) as (out, err):
        assert await err.lines(1) == ["pod/a has no condition Ready yet"]
        body = '{"status":{"conditions":[{"type":"Ready","status":"%s","reason":"R","message":"m"}]}}'
        await w.ok("patch", "pod", "a", "--subresource=status", "-p", body % "False")
        assert (await err.lines(2))[1] == "pod/a has Ready=False (R: m)"
        await w.ok("patch", "pod", "a", "--subresource=status", "-p", body % "True")
        assert await out.lines(1) == ["pod/a condition met"]


async def test_rollout_status_tells_every_step(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=i", "--replicas=2")
    async with w.going_on("rollout", "status", "deploy/web") as (out, _):
        assert await out.lines(1) == ["Waiting for deployment spec update to be observed..."]
        status = '{"status":{"observedGeneration":1,"replicas":2,"updatedReplicas":%d,"availableReplicas":%d}}'
        for updated, available in ((1, 0), (2, 1), (2, 2)):
            await w.ok("patch", "deploy", "web", "--subresource=status", "-p", status % (updated, available))
        lines = await out.lines(4)
    assert lines[1:] == [
        'Waiting for deployment "web" rollout to finish: 1 out of 2 new replicas have been updated...',
        'Waiting for deployment "web" rollout to finish: 1 of 2 updated replicas are available...',
        'deployment "web" successfully rolled out',
    ]


async def test_explain_pending_goes_through_the_nodes(w: World) -> None:
    await w.apply(NODE % ("small", "false", "500m"))
    await w.apply(NODE % ("away", "true", "4"))
    await w.apply((POD % "p").replace("image: i", "image: i, resources: {requests: {cpu: '1'}}"))
    text = await w.ok("explain-pending", "p")
    assert "Pod default/p is pending: no node has been chosen for it." in text
    assert "default-scheduler has not looked at the pod yet" in text
    rows = [line.split("   ") for line in text.splitlines() if line.startswith(("away", "small"))]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["away", "the node is cordoned", "kubectl-lite uncordon away"],
        ["small", "cpu: 1 asked for, 500m free (0 of 500m taken)", "ask for at most 500m: the whole node has no more"],
    ]
    await w.ok("uncordon", "away")
    assert "Nothing seems to keep it from away" in await w.ok("explain-pending", "p")
    done = await w.run("explain-pending")
    assert done.code == 1 and "name one pod" in done.err


async def test_explain_pending_of_a_missing_claim_and_of_a_pod_that_has_a_node(w: World) -> None:
    await w.apply(NODE % ("n", "false", "4"))
    claim = "spec: {volumes: [{name: v, persistentVolumeClaim: {claimName: data}}], containers"
    await w.apply((POD % "p").replace("spec: {containers", claim))
    text = await w.ok("explain-pending", "p")
    assert '  persistentvolumeclaim "data" not found\n    to change it: create the claim data' in text
    assert '"everywhere"' in await w.ok("explain-pending", "p", "-o", "json")
    await w.apply((POD % "q").replace("spec: {", "spec: {nodeName: n, "))
    assert "has been scheduled on node n; its phase is Pending." in await w.ok("explain-pending", "q")


async def test_a_schema_that_is_not_served_is_told_so(w: World) -> None:
    assert "components" in await w.server.schema("apps", "v1")
    with pytest.raises(NotFound, match="the server serves no nope/v1"):
        await w.server.schema("nope", "v1")
