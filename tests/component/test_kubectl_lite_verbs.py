"""kubectl-lite's drain, edit, config, patches and selections, each against the real API server's core."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.component.kubectl_lite_world import World, world

NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: n}\n"
POD = """
apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: web}%s}
spec: {nodeName: n, terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]%s}
"""
OWNED = ", ownerReferences: [{apiVersion: apps/v1, kind: %s, name: o, uid: u, controller: true}]"
RUNNING = '{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}'
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: steady}
spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""
ALLOWED = (
    '{"status":{"disruptionsAllowed":%d,"currentHealthy":2,"desiredHealthy":1,"expectedPods":2,"observedGeneration":1}}'
)


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    async with world(here=tmp_path) as made:
        yield made


async def running(w: World, name: str, kind: str = "ReplicaSet", spec: str = "") -> None:
    await w.apply(POD % (name, OWNED % kind if kind else "", spec))
    await w.ok("patch", "pod", name, "--subresource=status", "--type=merge", "-p", RUNNING)


# ------------------------------------------------------------------ drain


async def test_drain_says_what_stands_in_the_way_before_it_touches_anything(w: World) -> None:
    await w.apply(NODE)
    await running(w, "mine", kind="")
    await running(w, "daemon", kind="DaemonSet")
    await running(w, "scratch", spec=", volumes: [{name: v, emptyDir: {}}]")
    refused = await w.run("drain", "n")
    assert refused.code == 1
    for text in (
        "cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): default/daemon",
        "cannot delete Pods with local storage (use --delete-emptydir-data to override): default/scratch",
        "cannot delete Pods that declare no controller (use --force to override): default/mine",
        "`kubectl-lite uncordon n` takes that back",
    ):
        assert text in refused.err
    assert len((await w.ok("get", "pods", "-o", "name")).split()) == 3
    dry = await w.ok("drain", "n", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--dry-run=client")
    assert dry.endswith("node/n drained (dry run)\n") and len((await w.ok("get", "pods", "-o", "name")).split()) == 3
    done = await w.run("drain", "n", "--force", "--ignore-daemonsets", "--delete-emptydir-data")
    assert "Warning: ignoring DaemonSet-managed Pods: default/daemon" in done.err
    assert "Warning: deleting Pods that declare no controller: default/mine" in done.err
    assert await w.ok("get", "pods", "-o", "name") == "pod/daemon\n"


async def test_drain_waits_for_a_disruption_budget_and_goes_on_when_it_allows(w: World) -> None:
    await w.apply(NODE)
    await w.apply(BUDGET)
    await running(w, "web-1")
    await w.ok("patch", "pdb", "steady", "--subresource=status", "--type=merge", "-p", ALLOWED % 0)
    async with w.going_on("drain", "n", "--retry-every=50ms") as (out, err):
        (complaint, *_) = await err.lines(1)
        assert 'error when evicting pods/"web-1" -n "default" (will retry after 50ms)' in complaint
        assert "disruption budget" in complaint
        assert (await w.run("get", "pod", "web-1")).code == 0
        await w.ok("patch", "pdb", "steady", "--subresource=status", "--type=merge", "-p", ALLOWED % 1)
        lines = await out.lines(4)
    assert lines == ["node/n cordoned", "evicting pod default/web-1", "pod/web-1 evicted", "node/n drained"]
    assert (await w.run("get", "pod", "web-1")).code == 1


async def test_drain_that_runs_out_of_time_names_what_is_left(w: World) -> None:
    await w.apply(NODE)
    await w.apply(BUDGET)
    await running(w, "web-1")
    await w.ok("patch", "pdb", "steady", "--subresource=status", "--type=merge", "-p", ALLOWED % 0)
    late = await w.run("drain", "n", "--timeout=300ms", "--retry-every=100ms")
    assert late.code == 1 and "timed out after 300ms; still there: web-1" in late.err and "get pdb -A" in late.err
    assert "evicted" in await w.ok("drain", "n", "--disable-eviction")


# ------------------------------------------------------------------ edit


def editor(w: World, script: str) -> None:
    """The editor is a small program, that gets the file's path; how often it ran is in `runs`."""
    file = w.here / "editor.py"
    head = "import sys, pathlib\nfile = pathlib.Path(sys.argv[1])\ntext = file.read_text()\n"
    count = f"runs = pathlib.Path({str(w.here / 'runs')!r})\nnumber = len(runs.read_text()) if runs.exists() else 0\n"
    file.write_text(f"{head}{count}runs.write_text('x' * (number + 1))\n{script}\n")
    w.environ["KUBE_EDITOR"] = f"{sys.executable} {file}"


def taken(file: Path) -> str:
    text = file.read_text()
    file.unlink()
    return text


def runs(w: World) -> int:
    return len((w.here / "runs").read_text())


async def test_edit_sends_what_was_changed(w: World) -> None:
    await w.ok("create", "configmap", "a", "--from-literal=x=1", "--from-literal=z=2")
    editor(w, "file.write_text(text.replace('x: \"1\"', 'x: \"9\"').replace('  z: \"2\"\\n', ''))")
    assert await w.ok("edit", "cm", "a") == "configmap/a edited\n"
    assert await w.ok("get", "cm", "a", "-o", "jsonpath={.data}") == '{"x":"9"}'
    editor(w, "")
    same = await w.run("edit", "cm/a")
    assert (same.code, same.err) == (0, "Edit cancelled, no changes made.\n")


async def test_edit_opens_again_with_the_reason_when_the_server_refuses(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=i")
    editor(
        w,
        "if number == 0: file.write_text(text.replace('replicas: 1', 'replicas: -1'))\n"
        "else:\n  assert 'spec.replicas' in text.split('apiVersion')[0], text\n"
        "  file.write_text(text.replace('replicas: -1', 'replicas: 4'))",
    )
    done = await w.run("edit", "deploy/web")
    assert (done.code, done.out, runs(w)) == (0, "deployment.apps/web edited\n", 2)
    assert "spec.replicas" in done.err
    assert await w.ok("get", "deploy/web", "-o", "jsonpath={.spec.replicas}") == "4"


async def test_edit_keeps_what_was_typed_in_vain(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=i")
    editor(w, "file.write_text(text.replace('replicas: 1', 'replicas: -1'))")
    done = await w.run("edit", "deploy/web")
    assert (done.code, runs(w)) == (1, 2) and "no valid changes were saved" in done.err
    assert "replicas: -1" in taken(Path(done.err.rstrip().rpartition(" in ")[2]))
    w.environ["KUBE_EDITOR"] = "/nonexistent"
    assert "set KUBE_EDITOR" in (await w.run("edit", "deploy/web")).err


# ------------------------------------------------------------------ choosing and order


async def test_field_selectors_choose(w: World) -> None:
    await w.apply(NODE)
    await running(w, "a")
    await w.apply("apiVersion: v1\nkind: Pod\nmetadata: {name: b}\nspec: {containers: [{name: c, image: i}]}\n")
    assert await w.ok("get", "pods", "--field-selector=status.phase=Running", "-o", "name") == "pod/a\n"
    assert await w.ok("get", "pods", "--field-selector", "spec.nodeName!=n", "-o", "name") == "pod/b\n"
    assert await w.ok("get", "pods", "--field-selector", "metadata.name=b,status.phase=Pending", "-oname") == "pod/b\n"
    assert 'pod "a" force deleted' in await w.ok("delete", "pods", "--field-selector=status.phase=Running", "--force")
    wrong = await w.run("get", "pods", "--field-selector=spec.x=y")
    assert wrong.code == 1 and "supported are" in wrong.err


async def test_sort_by_numbers_quantities_times_and_text(w: World) -> None:
    for name, cpu, replicas in (("web-10", "100m", 3), ("web-9", "2", 20), ("web-1", "1", 1)):
        await w.ok("create", "deployment", name, "--image=i", f"--replicas={replicas}")
        await w.ok("set", "resources", f"deploy/{name}", f"--requests=cpu={cpu}")

    async def names(path: str) -> list[str]:
        return (await w.ok("get", "deploy", f"--sort-by={path}", "-o", "name")).replace("deployment.apps/", "").split()

    assert await names(".metadata.name") == ["web-1", "web-9", "web-10"]
    assert await names("{.spec.replicas}") == ["web-1", "web-10", "web-9"]
    assert await names(".spec.template.spec.containers[0].resources.requests.cpu") == ["web-10", "web-1", "web-9"]


# ------------------------------------------------------------------ config


async def test_config_changes_the_file_that_is_named(tmp_path: Path) -> None:
    from kubectl_lite.__main__ import main
    from tests.component.kubectl_lite_world import captured

    file = tmp_path / "config"
    contexts = [{"name": n, "context": {"cluster": n, "user": "me"}} for n in ("a", "b")]
    clusters = [{"name": n, "cluster": {"server": f"https://{n}"}} for n in ("a", "b")]
    users = [{"name": "me", "user": {"token": "secret"}}]
    file.write_text(json.dumps({"current-context": "a", "contexts": contexts, "clusters": clusters, "users": users}))

    def config(*words: str) -> tuple[int, str, str]:
        streams = captured()
        code = main(["config", *words], streams, {"KUBECONFIG": str(file)})
        return code, streams.out.getvalue(), streams.err.getvalue()  # type: ignore[attr-defined]

    assert config("current-context") == (0, "a\n", "")
    assert config("use-context", "b") == (0, 'Switched to context "b".\n', "")
    assert config("set-context", "--current", "--namespace=test") == (0, 'Context "b" modified.\n', "")
    assert config("set-context", "c", "--cluster=a", "--user=me") == (0, 'Context "c" created.\n', "")
    assert config("rename-context", "b", "bee") == (0, 'Context "b" renamed to "bee".\n', "")
    assert config("rename-context", "bee", "a")[0] == 1
    assert config("get-contexts", "-o", "name")[1].split() == ["a", "bee", "c"]
    assert config("get-clusters")[1] == "NAME\na\nb\n" and config("get-users")[1] == "NAME\nme\n"
    assert config("view", "--minify", "-o", "jsonpath={.contexts[0].context.namespace}")[1] == "test"
    assert "secret" not in config("view")[1] and "secret" in config("view", "--raw")[1]
    code, _, warned = config("delete-context", "bee")
    assert code == 0 and "removed your active context" in warned
    assert config("delete-cluster", "nope")[0] == config("use-context", "nope")[0] == 1
    assert "see `kubectl-lite config get-contexts`" in config("use-context", "nope")[2]
    assert oct(file.stat().st_mode)[-3:] == "600"


# ------------------------------------------------------------------ warnings and patches


async def test_a_patch_that_is_no_json_is_refused_here(w: World) -> None:
    await w.ok("create", "configmap", "a", "--from-literal=x=1")
    wrong = await w.run("patch", "cm", "a", "-p", "{data:{x:2}}")
    assert wrong.code == 1 and "mind the shell's quotes" in wrong.err
    assert await w.ok("patch", "cm", "a", "-p", "data: {x: '2'}") == "configmap/a patched\n"


async def test_errors_say_what_to_do_next(w: World) -> None:
    for words, hint in (
        (["get", "pots"], "kubectl-lite api-resources"),
        (["logs"], "POD"),
        (["scale", "deploy/web"], "--replicas"),
        (["explain", "pods.x"], "Pod has apiVersion, kind, metadata, spec, status"),
        (["wait", "pod/x"], "--for is required"),
        (["cp", "a", "b"], "POD:PATH"),
        (["create", "deployment", "q"], "--image"),
        (["get", "-k", "x"], "kubectl kustomize"),
        (
            ["apply", "-k", "x"],
            "kustomizations are not supported; render them with `kubectl kustomize DIR` and use -f -",
        ),
        (["delete", "-k", "x"], "kubectl kustomize"),
        (["apply", "-f", "x", "--prune"], "--prune is not supported"),
        (["apply", "-f", "x", "--prune", "-l", "a=b"], "Delete by label (`delete -l ...`)"),
        (["apply", "-f", "x", "--server-side"], "--server-side is not supported"),
        (["rollout", "status"], "deploy/NAME"),
        (["get", "pods", "-o", "go-template={{html .x}}"], 'function "html" is not supported by kubectl-lite'),
    ):
        done = await w.run(*words)
        assert done.code == 1 and hint in done.err, (words, done.err)
