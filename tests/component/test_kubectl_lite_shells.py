"""The tab key in real shells: the printed script is sourced, and asked to complete words by the shell's own means."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubectl_lite.verbs.completion import SCRIPTS
from tests.component.kubectl_lite_world import World, world

BASH = """
source <(kubectl-lite completion bash)
complete -p kubectl-lite
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _kubectl_lite; printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """
compdef() {{ print -r -- "compdef $*" }}
compadd() {{ print -rl -- "${{(@)found}}" }}
_files() {{ print files }}
source <(kubectl-lite completion zsh)
words=({words}); CURRENT=$#words; _kubectl_lite
"""
FISH = """
kubectl-lite completion fish | source
complete -C "{line}"
"""


@pytest.fixture
async def w(tmp_path: Path) -> AsyncIterator[World]:
    """With a kubectl-lite in PATH that knows the server."""
    async with world(here=tmp_path) as made:
        extension = [{"name": "sampan.dev/grpc", "extension": {"address": made.address}}]
        config = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "k"}}],
            "clusters": [{"name": "k", "cluster": {"extensions": extension}}],
        }
        (tmp_path / "config").write_text(json.dumps(config))
        program = tmp_path / "kubectl-lite"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_lite "$@"\n')
        program.chmod(0o755)
        await made.ok("create", "namespace", "colours")
        await made.ok("create", "configmap", "red", "--from-literal=a=b", "-n", "colours")
        await made.ok("create", "configmap", "rust", "--from-literal=a=b", "-n", "colours")
        yield made


async def shell(w: World, name: str, script: str) -> list[str]:
    options = {"bash": ["--norc", "-c"], "zsh": ["-f", "-c"], "fish": ["--no-config", "-c"]}[name]
    root = str(Path(__file__).parents[2])
    env = {**os.environ, "PATH": f"{w.here}:{os.environ['PATH']}", "KUBECONFIG": str(w.here / "config")}
    env |= {"PYTHONPATH": root, "HOME": str(w.here)}
    process = await asyncio.create_subprocess_exec(
        name, *options, script, env=env, cwd=w.here, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert not err, err.decode()
    return out.decode().splitlines()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("kubectl-lite expl", ["explain", "explain-pending"]),
        ("kubectl-lite get configm", ["configmaps"]),
        ("kubectl-lite -n colours get cm r", ["red", "rust"]),
        ("kubectl-lite get cm/r --namespace = col", ["colours"]),
        ("kubectl-lite get -n colours cm/ru", ["cm/rust"]),
        ("kubectl-lite rollout und", ["undo"]),
        ("kubectl-lite get pods -o js", ["json", "jsonpath="]),
        ("kubectl-lite get ''", None),
    ],
)
@pytest.mark.shell("bash")
async def test_bash(w: World, words: str, offered: list[str] | None) -> None:
    how, *found = await shell(w, "bash", BASH.format(words=words))
    assert how == "complete -o default -F _kubectl_lite kubectl-lite"
    assert found == offered if offered is not None else "pods" in found and "nodes" in found


@pytest.mark.shell("zsh")
async def test_zsh(w: World) -> None:
    how, *found = await shell(w, "zsh", ZSH.format(words="kubectl-lite get -n colours cm r"))
    assert (how, found) == ("compdef _kubectl_lite kubectl-lite", ["red", "rust"])
    assert (await shell(w, "zsh", ZSH.format(words="kubectl-lite apply -f x")))[1:] == ["files"]
    assert (await shell(w, "zsh", ZSH.format(words="kubectl-lite get --namespace=col")))[1:] == ["--namespace=colours"]


@pytest.mark.shell("fish")
async def test_fish(w: World) -> None:
    assert await shell(w, "fish", FISH.format(line="kubectl-lite get -n colours cm r")) == ["red", "rust"]
    assert await shell(w, "fish", FISH.format(line="kubectl-lite expl")) == ["explain", "explain-pending"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.shell(name)) for name in SCRIPTS])
async def test_a_server_that_is_away_is_no_error(w: World, name: str) -> None:
    (w.here / "config").write_text((w.here / "config").read_text().replace(w.address, "127.0.0.1:1"))
    scripts = {
        "bash": BASH.format(words="kubectl-lite get pods r"),
        "zsh": ZSH.format(words="kubectl-lite get pods r"),
        "fish": FISH.format(line="kubectl-lite get pods r"),
    }
    found = await shell(w, name, scripts[name])
    assert [line for line in found if line and "_kubectl_lite" not in line and line != "files"] == []
