"""kubectl-lite's verbs against the real API server's core, through the real gRPC door."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.kubectl_lite_world import World, world

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {%s}\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: x}}\nspec: {containers: [{name: c, image: i}]}\n"


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(here=tmp_path) as made:
        yield made


async def test_apply_creates_configures_and_removes_what_the_manifest_lost(w: World) -> None:
    assert await w.apply(CONFIG % "x: '1', y: '2'") == "configmap/a created\n"
    assert await w.apply(CONFIG % "x: '1', y: '2'") == "configmap/a unchanged\n"
    await w.ok("patch", "cm", "a", "-p", '{"data":{"z":"3"}}')
    assert await w.apply(CONFIG % "x: '9'") == "configmap/a configured\n"
    assert await w.ok("get", "cm", "a", "-o", "jsonpath={.data}") == '{"x":"9","z":"3"}'


async def test_dry_runs_keep_nothing(w: World) -> None:
    for how in ("client", "server"):
        result = await w.run("apply", "-f", "-", f"--dry-run={how}", stdin=(CONFIG % "x: '1'").encode())
        assert result.out.startswith("configmap/a created (") and "dry run)" in result.out
    assert (await w.run("get", "cm", "a")).code == 1


async def test_diff_tells_and_its_code_says_so(w: World) -> None:
    await w.apply(CONFIG % "x: '1'")
    same = await w.run("diff", "-f", "-", stdin=(CONFIG % "x: '1'").encode())
    other = await w.run("diff", "-f", "-", stdin=(CONFIG % "x: '2'").encode())
    assert (same.code, same.out) == (0, "") and other.code == 1
    assert '-  x: "1"' in other.lines and '+  x: "2"' in other.lines


async def test_get_in_every_form(w: World) -> None:
    await w.apply(POD)
    assert (await w.ok("get", "pods")).split() == [
        "NAME",
        "READY",
        "STATUS",
        "RESTARTS",
        "AGE",
        "p",
        "0/1",
        "Pending",
        "0",
        "0s",
    ]
    assert await w.ok("get", "pod/p", "-o", "name") == "pod/p\n"
    assert json.loads(await w.ok("get", "pods", "-ojson"))["items"][0]["metadata"]["name"] == "p"
    columns = await w.ok("get", "pods", "-o", "custom-columns=N:.metadata.name,X:.nope", "--no-headers")
    assert columns == "p     <none>\n"
    assert "LABELS" in await w.ok("get", "po", "--show-labels", "-l", "app=x")
    missing = await w.run("get", "pods", "nope")
    assert (missing.code, missing.err) == (1, 'Error from server (NotFound): pods "nope" not found\n')
    assert (await w.run("get", "pods", "nope", "--ignore-not-found")).code == 0
    assert (await w.run("get", "pods", "-n", "kube-system")).err == "No resources found in kube-system namespace.\n"


async def test_create_makes_common_kinds(w: World) -> None:
    assert await w.ok("create", "deployment", "web", "--image=nginx", "--replicas=2") == "deployment.apps/web created\n"
    await w.ok("create", "secret", "generic", "s", "--from-literal=k=v")
    assert await w.ok("get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="
    again = await w.run("create", "namespace", "default")
    assert again.code == 1 and "AlreadyExists" in again.err
    assert "deployment.apps/web" in await w.ok("get", "all")


async def test_a_bad_field_is_named(w: World) -> None:
    result = await w.run("create", "-f", "-", stdin=POD.replace("image", "imagee").encode())
    assert result.code == 1 and 'unknown field "spec.containers[0].imagee"' in result.err


async def test_scale_label_annotate_and_rollout(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=nginx")
    assert await w.ok("scale", "deploy/web", "--replicas=3") == "deployment.apps/web scaled\n"
    assert await w.ok("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "3"
    assert await w.ok("label", "deploy", "web", "a=b") == "deployment.apps/web labeled\n"
    assert (await w.run("label", "deploy", "web", "a=c")).code == 1
    assert await w.ok("label", "deploy", "web", "a-") == "deployment.apps/web unlabeled\n"
    assert await w.ok("annotate", "deploy/web", "note=x") == "deployment.apps/web annotated\n"
    assert await w.ok("rollout", "restart", "deploy/web") == "deployment.apps/web restarted\n"
    assert await w.ok("rollout", "pause", "deploy/web") == "deployment.apps/web paused\n"
    assert "can't restart paused" in (await w.run("rollout", "restart", "deploy/web")).err


async def test_wait_sees_a_change_and_gives_up(w: World) -> None:
    await w.apply(CONFIG % "x: '1'")
    waiting = asyncio.create_task(w.run("wait", "cm/a", "--for=jsonpath={.data.x}=2"))
    await w.ok("patch", "cm", "a", "-p", '{"data":{"x":"2"}}')
    assert (await waiting).out == "configmap/a condition met\n"
    late = await w.run("wait", "cm/a", "--for=jsonpath={.data.x}=3", "--timeout=0")
    assert late.code == 1 and "condition not met" in late.err
    gone = asyncio.create_task(w.run("wait", "cm/a", "--for=delete"))
    assert await w.ok("delete", "cm", "a") == 'configmap "a" deleted\n'
    assert (await gone).code == 0  # it says so only if it saw the object before
    assert (await w.run("wait", "cm/a", "--for=delete")).out == ""


async def test_describe_lays_a_pod_out_as_users_know_it(w: World) -> None:
    await w.apply(POD)
    text = await w.ok("describe", "pod", "p")
    for line in (
        "Name:             p",
        "Labels:           app=x",
        "Node:             <none>",
        "    Image:        i",
    ):
        assert line in text.splitlines()


async def test_nodes_are_cordoned_tainted_and_drained(w: World) -> None:
    await w.apply("apiVersion: v1\nkind: Node\nmetadata: {name: n1}\n")
    assert await w.ok("cordon", "n1") == "node/n1 cordoned\n"
    assert await w.ok("taint", "nodes", "n1", "a=b:NoSchedule") == "node/n1 tainted\n"
    assert await w.ok("drain", "n1") == "node/n1 already cordoned\nnode/n1 drained\n"
    assert await w.ok("uncordon", "n1") == "node/n1 uncordoned\n"


async def test_the_whole_program_from_its_kubeconfig(w: World, tmp_path: Path) -> None:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k"}}],
        "clusters": [
            {"name": "k", "cluster": {"extensions": [{"name": "sampan.dev/grpc", "extension": {"address": w.address}}]}}
        ],
    }
    (tmp_path / "config").write_text(json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "kubectl_lite", "get", "ns", "default", "-o", "name",
        env={**os.environ, "KUBECONFIG": str(tmp_path / "config")}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"namespace/default\n")
