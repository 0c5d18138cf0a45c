"""How fast a person has an answer: kubectl-lite's start, and its tables.

    python -m tests.bench.kubectl_lite [--repeat 20] [--pods 5000]

Each command is a process of its own against an API server over TLS, from launch to end: median of the wall's time and of the CPU's
(user and system). Yardstick: kubectl 1.33 with the same words, in turn with it; without one here an interpreter that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from kubeapi.client.grpc_client import connect
from kubeapi.client.interface import Write
from kubeapi.client.kubeconfig import load
from kubeapi.types import core_v1
from tests.bench.common import ADMIN, Rig, median, rig, say
from tests.support.kubectls import find_kubectls
from tests.support.make import make_pod

YARDSTICK = "1.33"
AT_ONCE = 500
GOAL = {"version --client": 0.150, "get pods": 0.150, "get pods -A": 1.0}
"""Seconds."""


def program() -> list[str]:
    installed = Path(sys.executable).with_name("kubectl-lite")
    return [str(installed)] if installed.exists() else [sys.executable, "-m", "kubectl_lite"]


async def fill(bench: Rig, namespace: str, count: int) -> None:
    access = await asyncio.to_thread(load, str(bench.kubeconfig(ADMIN)))
    async with connect(access.grpc, ca=access.ca, cert=access.cert, key=access.key) as client:
        for start in range(0, count, AT_ONCE):
            names = [f"web-{number:05}" for number in range(start, min(start + AT_ONCE, count))]
            pods = [
                make_pod(name, phase="Running", labels={"app": "web"}, metadata={"namespace": namespace})
                for name in names
            ]
            results = await client.batch([Write("create", pod, namespace=namespace) for pod in pods])
            for result in results:
                if result.error is not None:
                    raise result.error
        assert len((await client.list(core_v1.Pod, namespace)).items) == count


def once(command: Sequence[str], env: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(words: str, bench: Rig, repeat: int, **about: Any) -> None:
    env = {**os.environ, "KUBECONFIG": str(bench.kubeconfig(ADMIN)), "HOME": str(bench.folder)}
    kubectl = next((str(path) for path in find_kubectls() if YARDSTICK in path.name), "")
    other = [kubectl, *words.split()] if kubectl else [sys.executable, "-c", "pass"]
    once(other, env)
    once([*program(), *words.split()], env)
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(once([*program(), *words.split()], env))
        theirs.append(once(other, env))
    about["yardstick"] = f"kubectl {YARDSTICK}" if kubectl else "an interpreter's start"
    for number, what in enumerate(("wall", "CPU")):
        value, baseline = (median([pair[number] for pair in runs]) for runs in (ours, theirs))
        goal = {"goal": GOAL[words]} if what == "wall" and words in GOAL else {}
        say("kubectl-lite", f"{words}: {what}", value, "s", baseline=baseline, **about, **goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--pods", type=int, default=5000)
    args = parser.parse_args()
    with rig() as bench:
        bench.kubeconfig(ADMIN)
        bench.start_api("sqlite")
        bench.wait_ready()
        uvloop.run(fill(bench, "default", 5))
        measure("version --client", bench, args.repeat)
        measure("get pods", bench, args.repeat, pods=5)
        uvloop.run(fill(bench, "kube-public", args.pods - 5))
        measure("get pods -A", bench, max(3, args.repeat // 4), pods=args.pods)


if __name__ == "__main__":
    main()
