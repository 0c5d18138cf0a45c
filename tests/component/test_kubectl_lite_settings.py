"""kubectl-lite's set, run and auth whoami against the real API server's core."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.component.kubectl_lite_world import World, world


@pytest.fixture
async def w() -> AsyncIterator[World]:
    async with world() as made:
        yield made


async def container(w: World, what: str = "deploy/web") -> dict[str, Any]:
    obj = json.loads(await w.ok("get", what, "-ojson"))
    spec = obj["spec"] if obj["kind"] == "Pod" else obj["spec"]["template"]["spec"]
    found: dict[str, Any] = spec["containers"][0]
    return found


async def test_set_image_changes_the_named_container_and_says_nothing_when_it_is_so(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=nginx:1")
    assert await w.ok("set", "image", "deploy/web", "nginx=nginx:2") == "deployment.apps/web image updated\n"
    assert (await container(w))["image"] == "nginx:2"
    assert await w.ok("set", "image", "deployment", "web", "*=nginx:2") == ""
    wrong = await w.run("set", "image", "deploy/web", "other=x")
    assert wrong.code == 1 and 'unable to find container named "other"' in wrong.err


async def test_set_env_sets_removes_and_lists(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=nginx")
    assert await w.ok("set", "env", "deploy/web", "A=1", "B=2") == "deployment.apps/web env updated\n"
    await w.ok("set", "env", "deploy/web", "A=3", "B-")
    assert (await container(w))["env"] == [{"name": "A", "value": "3"}]
    assert await w.ok("set", "env", "deploy/web", "--list") == "# Deployment web, container nginx\nA=3\n"


async def test_set_resources_sets_and_removes(w: World) -> None:
    await w.ok("create", "deployment", "web", "--image=nginx")
    said = await w.ok("set", "resources", "deploy/web", "--limits=cpu=200m,memory=64Mi", "--requests=cpu=100m")
    assert said == "deployment.apps/web resource requirements updated\n"
    await w.ok("set", "resources", "deploy/web", "--limits=memory=0")
    made = (await container(w))["resources"]
    assert (made["limits"], made["requests"]["cpu"]) == ({"cpu": "200m"}, "100m")


async def test_run_makes_one_pod(w: World) -> None:
    assert await w.ok("run", "p", "--image=busybox", "--env=A=1", "--", "sleep", "9") == "pod/p created\n"
    made = await container(w, "pod/p")
    assert (made["image"], made["args"], made["env"]) == ("busybox", ["sleep", "9"], [{"name": "A", "value": "1"}])
    assert await w.ok("get", "pod", "p", "-o", "jsonpath={.metadata.labels.run}") == "p"
    assert "--image" in (await w.run("run", "q")).err
    assert "--rm" in (await w.run("run", "q", "--image=x", "--rm")).err


async def test_whoami_tells_the_user_and_the_groups(w: World) -> None:
    lines = (await w.ok("auth", "whoami")).splitlines()
    assert lines[0].split() == ["ATTRIBUTE", "VALUE"] and lines[1].split() == ["Username", "admin"]
    assert lines[-1].startswith("Groups") and "system:masters" in lines[-1]


@pytest.mark.parametrize(
    "words",
    [
        ["apply", "-f"],
        ["get", "ns", "-o", "jsonpath-file="],
        ["get", "ns", "-o", "custom-columns-file="],
        ["get", "ns", "-o", "go-template-file="],
        ["patch", "ns", "default", "--patch-file="],
    ],
    ids=lambda words: " ".join(words),
)
async def test_a_file_that_is_no_text_is_told_without_a_traceback(w: World, words: list[str], tmp_path: Path) -> None:
    file = tmp_path / "program"
    file.write_bytes(b"\x7fELF\xff\xfe\x00")
    *first, last = words
    given = [*first, last + str(file)] if last.endswith("=") else [*words, str(file)]
    said = await w.run(*given)
    assert said.code == 1
    assert said.err.startswith("error: ") and "is no text: " in said.err
