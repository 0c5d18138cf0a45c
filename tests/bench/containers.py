"""Pods in real containers, on clusters of one node that are started for it (`sampan up`, `sampan standalone`), beside the bare
Docker SDK.

    sudo python -m tests.bench.containers [--count 5] [--replicas 20]

pod: create to Running; to gone after a deletion with grace 0. deployment: create to all Ready, rolled to a new template, and
gone. killed: a container killed from outside, until another one is Ready in the API. Yardstick: the same containers (for a
pod two: pause and its own) started through the Docker SDK with no cluster, one after the other or in 8 threads.

It needs the whole machine (namespaces, bridge, rules), so it does nothing where a cluster already runs.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker

from kubeapi.client.grpc_client import connect
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.meta import is_true
from kubeapi.types import apps_v1, core_v1, meta_v1
from node_agent.images import BUSYBOX, PAUSE
from tests.bench.common import median, say
from tests.support.until import until

HOME = Path("/var/lib/sampan-bench")
SLEEP = ["sleep", "36000"]
LABELS = {"app": "bench"}


def spec() -> core_v1.PodSpec:
    container = core_v1.Container(name="main", image=BUSYBOX, command=SLEEP, image_pull_policy="Never")
    return core_v1.PodSpec(containers=[container], termination_grace_period_seconds=1)


def is_ready(pod: core_v1.Pod) -> bool:
    return is_true(pod.status.conditions, "Ready") and pod.metadata.deletion_timestamp is None


def container_of(pod: core_v1.Pod) -> str:
    states = pod.status.container_statuses
    return states[0].container_id.rpartition("/")[2] if states and states[0].state.running else ""


async def timed(act: Awaitable[Any]) -> float:
    begun = time.perf_counter()
    await act
    return time.perf_counter() - begun


async def pods_are(client: Client, test: Callable[[list[core_v1.Pod]], bool]) -> list[core_v1.Pod]:
    """As soon as the pods of this measurement pass; a minute at most."""
    return await until(
        client,
        core_v1.Pod,
        lambda found: test([p for p in found if p.metadata.labels.get("app") == LABELS["app"]]),
        seconds=60,
    )


# ------------------------------------------------------------------ the yardstick


def bare(count: int, threads: int) -> float:
    """Seconds until `count` pods' containers run, and nothing more."""
    engine = docker.from_env()
    made: list[Any] = []

    def start(_: int) -> None:
        pause = engine.containers.run(PAUSE, detach=True, network_mode="none", ipc_mode="shareable")
        made.append(pause)
        joined = f"container:{pause.id}"
        made.append(engine.containers.run(BUSYBOX, SLEEP, detach=True, network_mode=joined, ipc_mode=joined))

    try:
        begun = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(start, range(count)))
        return time.perf_counter() - begun
    finally:
        for container in made:
            container.remove(force=True)
        engine.close()


# ------------------------------------------------------------------ measurements


async def one_pod(client: Client, count: int, agent: str) -> None:
    running, gone = [], []
    for number in range(count):
        name = f"one-{number}"
        pod = core_v1.Pod(metadata=meta_v1.ObjectMeta(name=name, namespace="default", labels=LABELS), spec=spec())

        async def runs(pod: core_v1.Pod = pod) -> None:
            await client.create(pod)
            await pods_are(client, lambda found: any(p.status.phase == "Running" for p in found))

        async def goes(name: str = name) -> None:
            await client.delete(core_v1.Pod, name, "default", grace_seconds=0)
            await pods_are(client, lambda found: not found)

        running.append(await timed(runs()))
        gone.append(await timed(goes()))
    baseline = median([bare(1, 1) for _ in range(count)])
    say("pod", "create to Running", median(running), "s", baseline=baseline, yardstick="bare Docker SDK", agent=agent)
    say("pod", "delete with grace 0 to gone from the API", median(gone), "s", agent=agent)


async def deployment(client: Client, replicas: int, repeat: int, agent: str) -> None:
    ready, rolled, gone = [], [], []
    for _ in range(repeat):
        template = core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels=LABELS), spec=spec())
        wish = apps_v1.Deployment(
            metadata=meta_v1.ObjectMeta(name="many", namespace="default", labels=LABELS),
            spec=apps_v1.DeploymentSpec(
                replicas=replicas, selector=meta_v1.LabelSelector(match_labels=LABELS), template=template
            ),
        )

        async def comes(wish: apps_v1.Deployment = wish) -> None:
            await client.create(wish)
            await pods_are(client, lambda found: sum(map(is_ready, found)) == replicas)

        async def rolls() -> None:
            change = {"spec": {"template": {"metadata": {"annotations": {"rev": "2"}}}}}
            made = await client.patch(apps_v1.Deployment, "many", change, namespace="default")
            await until(client, apps_v1.Deployment, lambda found: all(complete(d, made) for d in found))

        async def goes() -> None:
            await client.delete(apps_v1.Deployment, "many", "default", propagation="Background")
            await pods_are(client, lambda found: not found)

        ready.append(await timed(comes()))
        rolled.append(await timed(rolls()))
        gone.append(await timed(goes()))
    baseline = median([bare(replicas, 8) for _ in range(repeat)])
    say(
        "deployment",
        f"{replicas} create to all Ready",
        median(ready),
        "s",
        baseline=baseline,
        yardstick="Docker SDK, 8 threads",
        agent=agent,
    )
    say("deployment", f"{replicas} rolled", median(rolled), "s", agent=agent)
    say("deployment", f"{replicas} deleted to all gone", median(gone), "s", agent=agent)


def complete(found: apps_v1.Deployment, made: apps_v1.Deployment) -> bool:
    status, wanted = found.status, found.spec.replicas
    counts = (status.updated_replicas, status.ready_replicas, status.replicas, status.available_replicas)
    return status.observed_generation >= made.metadata.generation and all(count == wanted for count in counts)


async def killed(client: Client, count: int, agent: str) -> None:
    back = []
    for number in range(count):
        metadata = meta_v1.ObjectMeta(name=f"kill-{number}", namespace="default", labels=LABELS)
        await client.create(core_v1.Pod(metadata=metadata, spec=spec()))
        [pod] = await pods_are(client, lambda found: any(map(is_ready, found)))
        first = container_of(pod)

        async def comes_back(first: str = first) -> None:
            await asyncio.to_thread(kill, first)
            await pods_are(client, lambda found: any(is_ready(p) and container_of(p) not in ("", first) for p in found))

        await asyncio.sleep(1.0)  # a container that ends at once would be held back as a crash loop
        back.append(await timed(comes_back()))
        await client.delete(core_v1.Pod, metadata.name, "default", grace_seconds=0)
        await pods_are(client, lambda found: not found)
    say("killed", "container killed to the next one Ready", median(back), "s", agent=agent)


def kill(container: str) -> None:
    engine = docker.APIClient()
    try:
        engine.kill(container)
    finally:
        engine.close()


async def measure(count: int, replicas: int, agent: str) -> None:
    """`agent`: where the node's agent runs."""
    access = await asyncio.to_thread(load, str(HOME / "admin.kubeconfig"))
    async with connect(access.grpc, ca=access.ca, cert=access.cert, key=access.key) as client:
        await until(client, core_v1.ServiceAccount, lambda found: any(a.metadata.name == "default" for a in found))
        await one_pod(client, count, agent)
        await deployment(client, replicas, max(1, count // 2), agent)
        await killed(client, count, agent)


@contextmanager
def up() -> Iterator[None]:
    command = [sys.executable, "-m", "sampan", "up", f"--data-dir={HOME}", "--nodes=1"]
    subprocess.run(command, check=True, stdout=sys.stderr)
    yield


@contextmanager
def standalone() -> Iterator[None]:
    command = [sys.executable, "-m", "sampan", "standalone", f"--data-dir={HOME}", "--name=node-1"]
    log = HOME.with_suffix(".log")
    with log.open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    with process.stdout as lines:
        if not any(line.startswith("export KUBECONFIG=") for line in lines):
            raise SystemExit(f"it does not start: {log.read_text()}")
    yield
    process.terminate()
    process.wait(20)
    log.unlink()


CLUSTERS = {"a process of its own": up, "in the control plane's process": standalone}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5)
    parser.add_argument("--replicas", type=int, default=20)
    args = parser.parse_args()
    spaces = subprocess.run(["ip", "netns"], check=True, capture_output=True, text=True).stdout
    if "sampan-node-" in spaces:
        print("a cluster runs on this machine: nothing was measured in containers", file=sys.stderr)
        return 0
    for agent, cluster in CLUSTERS.items():
        try:
            with cluster():
                asyncio.run(measure(args.count, args.replicas, agent))
        finally:
            subprocess.run(
                [sys.executable, "-m", "sampan", "down", f"--data-dir={HOME}"], check=True, stdout=sys.stderr
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
