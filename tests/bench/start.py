"""How fast a control plane is there, and what it uses while nothing happens.

    python -m tests.bench.start [--repeat 5] [--idle 10]

`ready`: etcd and API server launched together, until /readyz says ok; with a warm page cache and compiled modules. `node`:
all components launched, until the first node (hollow, with no network of its own) is Ready. Then nothing is asked for a
while: resident memory, and the share of one core, of each process. Yardstick of the starts: an interpreter that does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import uvloop

from kubeapi.client.grpc_client import connect
from kubeapi.client.kubeconfig import load
from kubeapi.meta import is_true
from kubeapi.types import core_v1
from sampan import standalone
from sampan.cluster_layout import CONTROLLERS, SCHEDULER, node_identity
from tests.bench.common import ADMIN, Rig, cpu_seconds, median, resident_mib, rig, say
from tests.support.until import until

APART, TOGETHER, ALL = "in processes of their own", "in one process", "in one process, the node's agent too"
"""How the parts of the control plane run."""


def start_all(bench: Rig, store: str, how: str) -> None:
    if how == ALL:
        words = standalone_flags(bench, f"etcd://{bench.start_etcd()}" if store == "etcd" else "")
        bench.start("standalone", "standalone", *words)
        return
    if how == APART:
        bench.start_api(store)
        bench.start("scheduler", "scheduler", f"--kubeconfig={bench.kubeconfig(SCHEDULER)}")
        bench.start("controllers", "controllers", f"--kubeconfig={bench.kubeconfig(CONTROLLERS)}")
    else:
        bench.start_api(store, "controlplane")
    node = node_identity("node-1")
    bench.start(
        "node", "node", "--name=node-1", f"--kubeconfig={bench.kubeconfig(node)}", "--address=127.0.0.1",
        f"--data-dir={bench.folder}/node", "--runtime=hollow", "--plain-network",
    )  # fmt: skip


def standalone_flags(bench: Rig, store: str = "") -> list[str]:
    return [
        f"--data-dir={bench.folder}", "--name=node-1", "--address=127.0.0.1", f"--port={bench.port}",
        f"--grpc-port={bench.grpc_port}", "--runtime=hollow", "--plain-network", f"--store={store}",
    ]  # fmt: skip


async def first_node(bench: Rig) -> None:
    access = await asyncio.to_thread(load, str(bench.kubeconfig(ADMIN)))
    async with connect(access.grpc, ca=access.ca, cert=access.cert, key=access.key) as client:
        await until(
            client, core_v1.Node, lambda nodes: any(is_true(n.status.conditions, "Ready") for n in nodes), "", 60
        )


def bare_start() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds over which idle CPU is measured")
    parser.add_argument("--stores", default="etcd,sqlite")
    args = parser.parse_args()
    baseline = median([bare_start() for _ in range(args.repeat)])
    for store in args.stores.split(","):
        ready = []
        for _ in range(args.repeat):
            with rig() as bench:
                begun = time.perf_counter()
                bench.start_api(store)
                bench.wait_ready()
                ready.append(time.perf_counter() - begun)
        about: dict[str, Any] = {"store": store, "yardstick": "an interpreter's start"}
        say("start", "launched to /readyz", median(ready), "s", baseline=baseline, **about)
        for how in (ALL, TOGETHER, APART):
            noded = [to_first_node(store, how, args.idle * (n == args.repeat - 1)) for n in range(args.repeat)]
            about |= {"control plane": how}
            say("start", "launched to the first node Ready", median(noded), "s", baseline=baseline, **about)


def to_first_node(store: str, how: str, idle_seconds: float) -> float:
    with rig() as bench:
        for who in (SCHEDULER, CONTROLLERS, node_identity("node-1"), ADMIN):
            bench.kubeconfig(who)
        if how == ALL:
            plan = standalone.plan_of(standalone.parser().parse_args(standalone_flags(bench)))
            standalone.prepare(plan, now=datetime.now(UTC))
        begun = time.perf_counter()
        start_all(bench, store, how)
        bench.wait_ready()
        uvloop.run(first_node(bench))
        seconds = time.perf_counter() - begun
        if idle_seconds:
            idle(bench, store, how, idle_seconds)
        return seconds


def idle(bench: Rig, store: str, how: str, seconds: float) -> None:
    time.sleep(2.0)  # what a start sets going comes to rest
    about = {"store": store, "control plane": how}
    before = {name: cpu_seconds(process.pid) for name, process in bench.processes.items()}
    time.sleep(seconds)
    total = 0.0
    for name, process in bench.processes.items():
        used = (cpu_seconds(process.pid) - before[name]) / seconds * 100
        total += resident_mib(process.pid)
        say("idle", f"{name}: resident memory", resident_mib(process.pid), "MiB", **about)
        say("idle", f"{name}: CPU", used, "% of a core", **about)
    say("idle", "all: resident memory", total, "MiB", **about)


if __name__ == "__main__":
    main()
