"""The real parts that tests need, each a marker: etcd, Docker, network namespaces, kubectl, shells and so on.

Where this machine lacks a part, tests marked with it skip. If SAMPAN_REQUIRE names the part, as in CI, they fail instead:
there a test that does not run is no good news.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping, Set
from contextlib import closing
from functools import cache

import docker
import pytest
from docker.errors import DockerException

from sampan.cluster_compose import compose_command
from sampan.demo_checks import CheckError
from tests.support.kubectls import find_kubectls

Need = tuple[str, tuple[str, ...]]
"""A part, and which of its kind: what the marker is called with."""
Lack = Callable[..., str]
"""What this machine lacks of a part; empty if nothing."""


def required(text: str) -> frozenset[str]:
    """What SAMPAN_REQUIRE names. Raises UsageError: a name that stands for nothing would require nothing."""
    named = frozenset(filter(None, text.split(",")))
    if unknown := named - PARTS.keys():
        raise pytest.UsageError(f"SAMPAN_REQUIRE names {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    return named


def lacks(needs: Iterable[Need], parts: Mapping[str, Lack], required: Set[str]) -> tuple[str, str]:
    """Why a test cannot run here: first, what is required, which makes it fail; then, for what it skips."""
    fails, skips = [], []
    for name, which in needs:
        if name in parts and (reason := parts[name](*which)):
            (fails if name in required else skips).append(reason)
    return "; ".join(fails), "; ".join(skips)


def check(item: pytest.Item, required: Set[str]) -> None:
    """Before the test's fixtures: skips it, or fails it, where a part is missing."""
    fails, skips = lacks(((mark.name, mark.args) for mark in item.iter_markers()), PARTS, required)
    if fails:
        pytest.fail(f"{fails} (SAMPAN_REQUIRE says that it is here)", pytrace=False)
    if skips:
        pytest.skip(skips)


def _root() -> str:
    return "" if os.geteuid() == 0 else "needs root"


def _programs(*names: str) -> str:
    absent = [name for name in names if shutil.which(name) is None]
    return f"needs {', '.join(absent)}" if absent else ""


@cache
def _docker() -> str:
    try:
        with socket.socket(socket.AF_UNIX) as door:  # the SDK leaves its socket open where nobody answers
            door.connect("/var/run/docker.sock")
        with closing(docker.APIClient(timeout=10)) as engine:
            engine.ping()
    except (DockerException, OSError) as error:
        return f"needs a Docker engine: {error}"
    return ""


def _netns() -> str:
    return _root() or _programs("ip", "nft", "nsenter", "busybox")


@cache
def _compose() -> str:
    if shutil.which("docker") is None:
        return "needs docker, the program"
    try:
        compose_command()
    except CheckError as error:
        return str(error)
    return ""


def _kubectl(version: str = "") -> str:
    found = find_kubectls(version)
    return "" if found else " ".join(["needs a kubectl", *filter(None, [version]), "in SAMPAN_KUBECTL_DIR or PATH"])


def _promtool() -> str:
    return _programs("promtool") and "needs promtool; make e2e-compose runs it in the image"


PARTS: dict[str, Lack] = {
    "root": _root,
    "etcd": lambda: _programs("etcd"),
    "docker": _docker,
    "netns": _netns,
    "e2e": lambda: _netns() or _docker(),
    "compose": _compose,
    "kubectl": _kubectl,
    "promtool": _promtool,
    "shell": _programs,
}
