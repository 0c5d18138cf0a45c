"""Sampan and real Kubernetes in turn, on the same machine, the same etcd and the same load: `value` is ours, `baseline` theirs.

    make bench-kubernetes                     # builds Kubernetes 1.20.2 first, ten minutes, once
    python -m tests.bench.beside --kubernetes DIRECTORY [--count 3000] [--repeat 3] [--pods 5000] [--nodes 1000,5000]

Flow: a round starts each of the two afresh, on an empty etcd, and gives it all cases; rounds follow each other, so what slows
the machine for a while slows both. `ratio` is how many times better we are, whatever the unit. Kubernetes gets what a
measurement should give it: no throttling of its scheduler's client, no token controller that pods would wait for, no audit.

Etcd waits for its disk (fsync) and is tuned the same for both. JSON over TLS, 32 connections that stay open, a client
certificate. Pods are bound by a scheduler in a process of its own, as Kubernetes has it, all pods waiting when it starts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from sampan.cluster_layout import SCHEDULER
from sampan.cluster_pki import Identity
from tests.bench import load
from tests.bench.api import every_case, make_namespace, node, node_status, pod
from tests.bench.common import Rig, median, resident_mib, rig, say
from tests.bench.watch import fan_out

VERSION = "1.20.2"
KUBE_SCHEDULER = Identity("kube-scheduler", "system:kube-scheduler")
PODS = "/api/v1/namespaces/bench/pods"
POD = re.compile(rb'"name":"(pod-\d{6})"')
MERGE = "application/merge-patch+json"
LESS_IS_BETTER = ("s", "ms", "MiB")


@dataclass
class Kubernetes(Rig):
    """The same folder, certificates and etcd; other programs."""

    programs: Path = Path()

    def start_api(self, store: str, command: str = "kube-apiserver") -> Any:
        pki = self.pki
        return self.launch(
            "apiserver",
            str(self.programs / command),
            f"--etcd-servers=http://{self.start_etcd()}",
            f"--secure-port={self.port}",
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key",
            f"--client-ca-file={pki}/ca.crt",
            f"--service-account-key-file={pki}/sa.pub",
            f"--service-account-signing-key-file={pki}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=Node,RBAC",
            # With no controller-manager there is no account "default" that a pod could be given.
            "--disable-admission-plugins=ServiceAccount",
        )

    def start_scheduler(self) -> None:
        self.launch(
            "scheduler",
            str(self.programs / "kube-scheduler"),
            f"--kubeconfig={self.kubeconfig(KUBE_SCHEDULER)}",
            "--kube-api-qps=5000",
            "--kube-api-burst=5000",
            "--leader-elect=false",
            "--secure-port=0",
            "--port=0",
        )


class Sampan(Rig):
    def start_scheduler(self) -> None:
        self.start("scheduler", "scheduler", f"--kubeconfig={self.kubeconfig(SCHEDULER)}")


async def api_and_watch(bench: Rig, count: int, watchers: Iterable[int]) -> dict[tuple[str, str], float]:
    """By case and unit."""
    found: dict[tuple[str, str], float] = {}
    await make_namespace(bench)
    for name, (figure, _, p99, cpu) in (await every_case(bench, count)).items():
        if name.startswith("list"):
            found[f"{count} {name}", "ms"] = figure
        else:
            found[name, "1/s"] = figure
            found[f"{name}, p99", "ms"] = p99 * 1e3
        found[f"{name}, API server's CPU", "ms"] = cpu / 1e3
    found["API server's memory after that", "MiB"] = resident_mib(bench.processes["apiserver"].pid)
    for number in watchers:
        [one] = await fan_out(bench, number, 100, 1)
        found[f"fan-out to {number} watchers", "events/s"] = one.rate
        found[f"delivery to {number} watchers, p99", "ms"] = one.p99 * 1e3
    return found


async def binding(bench: Sampan | Kubernetes, nodes: int, pods: int) -> float:
    """Pods per second, from the first that is seen bound to the last: a program's start is told by other figures."""
    once = partial(load.run, bench.port, bench.tls())
    await make_namespace(bench)
    await once([load.request("POST", "/api/v1/nodes", node(i)) for i in range(nodes)])
    # New nodes are tainted until a controller finds them ready; here is none.
    for path, body in (("", b'{"spec":{"taints":null}}'), ("/status", node_status())):
        await once([load.request("PATCH", f"/api/v1/nodes/node-{i:05}{path}", body, MERGE) for i in range(nodes)])
    await once([load.request("POST", PODS, pod(i)) for i in range(pods)])
    listing = json.loads(await asyncio.to_thread(bench.get, f"{PODS}?limit=1"))
    seen = await changes(bench, f"{PODS}?watch=1&resourceVersion={listing['metadata']['resourceVersion']}")
    bench.start_scheduler()
    async with asyncio.timeout(120):
        first = await seen.until(1)
        return (pods - 1) / (await seen.until(pods) - first)


class Bound(asyncio.Protocol):
    """Notes when so many pods have changed: with a scheduler and nobody else, when they were bound."""

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._tail = b""
        self._wanted: tuple[int, asyncio.Future[float]] | None = None

    def data_received(self, data: bytes) -> None:
        text = self._tail + data
        self._names.update(POD.findall(text))
        self._tail = text[-40:]
        if self._wanted is not None and len(self._names) >= self._wanted[0] and not self._wanted[1].done():
            self._wanted[1].set_result(time.perf_counter())

    async def until(self, count: int) -> float:
        self._wanted = (count, asyncio.get_running_loop().create_future())
        self.data_received(b"")
        return await self._wanted[1]


async def changes(bench: Rig, path: str) -> Bound:
    loop, tls = asyncio.get_running_loop(), bench.tls()
    transport, seen = await loop.create_connection(Bound, "127.0.0.1", bench.port, ssl=tls, server_hostname="localhost")
    transport.write(load.request("GET", path))
    return seen


def started(bench: Rig) -> float:
    begun = time.perf_counter()
    bench.start_api("etcd")
    bench.wait_ready()
    return time.perf_counter() - begun


def one_round(kind: Callable[[Path, int, int], Any], args: argparse.Namespace) -> dict[tuple[str, str], float]:
    with rig(kind) as bench:
        found = {("launched to /readyz", "s"): started(bench)}
        time.sleep(1)  # what a start sets going comes to rest
        found["API server's memory when it has started", "MiB"] = resident_mib(bench.processes["apiserver"].pid)
        found |= uvloop.run(api_and_watch(bench, args.count, args.watchers))
    for nodes in args.nodes:
        with rig(kind) as bench:
            started(bench)
            found[f"{args.pods} pods bound, {nodes} nodes", "pods/s"] = uvloop.run(binding(bench, nodes, args.pods))
    return found


def tell(ours: Mapping[tuple[str, str], list[float]], theirs: Mapping[tuple[str, str], list[float]]) -> None:
    for (case, unit), values in ours.items():
        value, baseline = median(values), median(theirs[case, unit])
        times = baseline / value if unit in LESS_IS_BETTER else value / baseline
        say("beside", case, value, unit, yardstick=f"Kubernetes {VERSION}", theirs=baseline, ratio=times)


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kubernetes", type=Path, required=True, help="where hack/build-kubernetes put the programs")
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--nodes", type=numbers, default=[1000, 5000])
    parser.add_argument("--watchers", type=numbers, default=[100, 1000])
    args = parser.parse_args()
    kinds: list[Callable[[Path, int, int], Any]] = [Sampan, partial(Kubernetes, programs=args.kubernetes)]
    ours: dict[tuple[str, str], list[float]] = {}
    theirs: dict[tuple[str, str], list[float]] = {}
    for _ in range(args.repeat):
        for kind, found in zip(kinds, (ours, theirs), strict=True):
            for key, value in one_round(kind, args).items():
                found.setdefault(key, []).append(value)
    tell(ours, theirs)


if __name__ == "__main__":
    main()
