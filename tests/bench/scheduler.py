"""How fast pods get nodes. One JSON line per figure; a baseline in the same run.

    python -m tests.bench.scheduler [--pods 5000] [--nodes 1000,5000] [--profile]

decide    the decision alone, each followed by its assumption: with kept rankings, and with nothing kept (baseline)
bind      the whole way in one process: informers, queue, decision, batched bindings, events; API core on the memory
          store, called without sockets. Baseline: the same bindings, batched likewise, with no scheduler at all.
bind-grpc the same with the API server in a process of its own, over gRPC on a local socket: `cpu` is the scheduler's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import gc
import json
import pstats
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import grpc.aio
import uvloop

from controlplane.apiserver.auth.authn import AUTHENTICATED, Authenticator, User
from controlplane.apiserver.auth.authz import Authorizer
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.calls import Calls
from controlplane.apiserver.doors.grpc import OPTIONS, GrpcDoor
from controlplane.apiserver.doors.metrics import Metrics
from controlplane.scheduler.binder import BATCH, binding_of
from controlplane.scheduler.decide import Decider, decide
from controlplane.scheduler.scheduler import Scheduler
from controlplane.scheduler.snapshot import Snapshot
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.client import grpc_client
from kubeapi.client.interface import Client, Write
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.meta import replace
from kubeapi.pb.sampan.v1 import api_pb2_grpc
from kubeapi.types import core_v1, meta_v1
from tests.support.make import make_node, make_pod, make_replicaset

ZONE = "topology.kubernetes.io/zone"
OWNER = make_replicaset("web", labels={"app": "web"})
APART = core_v1.Affinity(
    pod_anti_affinity=core_v1.PodAntiAffinity(
        required_during_scheduling_ignored_during_execution=[
            core_v1.PodAffinityTerm(
                topology_key="kubernetes.io/hostname",
                label_selector=meta_v1.LabelSelector(match_labels={"app": "web"}),
            )
        ]
    )
)
SPREAD = [
    core_v1.TopologySpreadConstraint(
        max_skew=1,
        topology_key=ZONE,
        when_unsatisfiable="DoNotSchedule",
        label_selector=meta_v1.LabelSelector(match_labels={"app": "web"}),
    )
]
KINDS: dict[str, dict[str, Any]] = {
    "bare": {},
    "owned": {"owner": OWNER},
    "zone-spread": {"topology_spread_constraints": SPREAD},
    "anti-affinity": {"affinity": APART},
}
"""Owned pods are spread over hosts and zones by default; bare ones are not."""


def say(figure: str, value: float, unit: str, **about: Any) -> None:
    print(
        json.dumps({"bench": "scheduler", "case": figure, "value": round(value, 1), "unit": unit, **about}), flush=True
    )


def nodes_of(count: int) -> Iterator[core_v1.Node]:
    for i in range(count):
        yield make_node(f"n{i}", cpu="32", memory="128Gi", labels={ZONE: f"z{i % 3}"})


def pod_of(number: int, kind: str) -> core_v1.Pod:
    wanted = {"cpu": "100m", "memory": "128Mi"}
    return make_pod(f"p{number}", requests=wanted, labels={"app": "web"}, **KINDS[kind])


def measure_decisions(nodes: int, pods: int, kind: str) -> None:
    for baseline in (False, True):
        snapshot = Snapshot(Random(1))
        for node in nodes_of(nodes):
            snapshot.put_node(node)
        snapshot.around.set_owner("ReplicaSet", "default", "web", OWNER.spec.selector)
        decider = Decider(snapshot)
        waiting = [pod_of(i, kind) for i in range(min(pods, nodes) if not baseline else 200)]
        placed = 0
        begun = time.perf_counter()
        for pod in waiting:
            decision = decide(pod, snapshot) if baseline else decider.decide(pod)
            if decision.node:
                snapshot.put_pod(pod, decision.node, decision.shape.request if decision.shape else None)
                placed += 1
        took = time.perf_counter() - begun
        assert placed == len(waiting)
        name = "decide-afresh (baseline)" if baseline else "decide"
        say(name, took / len(waiting) * 1e6, "us/pod", nodes=nodes, pods=len(waiting), kind=kind)


def fresh(obj: Any) -> Any:
    return replace(obj, metadata=replace(obj.metadata, uid="", creation_timestamp=None))


async def fill(client: Client, nodes: int, pods: int, kind: str) -> None:
    await client.create(fresh(OWNER))
    for node in nodes_of(nodes):
        made = await client.create(fresh(node))
        await client.update(replace(made, status=node.status), subresource="status")
    for start in range(0, pods, BATCH):
        batch = [Write("create", fresh(pod_of(i, kind)), namespace="default") for i in range(start, start + BATCH)]
        for result in await client.batch(batch):
            if result.error is not None:
                raise result.error


async def measure_binding(nodes: int, pods: int, kind: str, profile: bool) -> None:
    clock, rng = SystemClock(), Random(1)
    for baseline in (False, True):
        async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
            client = LocalClient(api, context=RequestContext)
            await fill(client, nodes, pods, kind)
            if baseline:
                begun = time.perf_counter()
                await bind_all(client, nodes)
                say("bind-only (baseline)", pods / (time.perf_counter() - begun), "pods/s", nodes=nodes, pods=pods)
                continue
            await schedule_all(client, nodes, pods, kind, profile)


async def bind_all(client: Client, nodes: int) -> None:
    found = (await client.list(core_v1.Pod, "default")).items
    for start in range(0, len(found), BATCH):
        writes = [
            Write("create", binding_of(pod, f"n{i % nodes}"), "binding", pod.metadata.name, "default")
            for i, pod in enumerate(found[start : start + BATCH], start)
        ]
        for result in await client.batch(writes):
            if result.error is not None:
                raise result.error


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[Client]:
    """An API server in another process."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/api"
        command = [sys.executable, "-m", "tests.bench.scheduler", "--serve", address]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        try:
            assert process.stdout is not None
            await process.stdout.readline()  # it is ready
            async with grpc_client.connect(address) as client:
                yield client
        finally:
            process.terminate()
            await process.wait()


async def serve(address: str) -> None:
    clock, rng = SystemClock(), Random(1)
    admin = User("admin", ("system:masters", AUTHENTICATED))
    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        calls = Calls(api, authenticator=Authenticator(()), authorizer=Authorizer())
        door = GrpcDoor(calls, sessions=None, metrics=Metrics(), clock=clock, insecure_user=admin)
        server = grpc.aio.server(options=OPTIONS)
        api_pb2_grpc.add_ApiServerServicer_to_server(door, server)
        server.add_insecure_port(address)
        await server.start()
        print("ready", flush=True)
        await server.wait_for_termination()


async def measure_served(nodes: int, pods: int, kind: str, profile: bool) -> None:
    async with served() as client:
        await fill(client, nodes, pods, kind)
        await schedule_all(client, nodes, pods, kind, profile, figure="bind-grpc")


async def schedule_all(client: Client, nodes: int, pods: int, kind: str, profile: bool, figure: str = "bind") -> None:
    """From the scheduler's start, with all pods waiting, until the last is seen bound."""
    listing = await client.list(core_v1.Pod, "default")
    scheduler = Scheduler(client, clock=SystemClock(), rng=Random(1))
    profiler = cProfile.Profile()
    bound: set[str] = set()
    first = 0.0
    if profile:
        profiler.enable()
    begun, cpu = time.perf_counter(), time.process_time()
    running = asyncio.create_task(scheduler.run(), name="scheduler")
    async for batch in client.watch(core_v1.Pod, "default", resource_version=listing.resource_version):
        first = first or time.perf_counter()
        bound.update(e.object.metadata.name for e in batch if e.type == "MODIFIED" and e.object.spec.node_name)
        if len(bound) == pods:
            break
    took, used = time.perf_counter() - begun, time.process_time() - cpu
    profiler.disable()
    running.cancel()
    await asyncio.wait([running])
    about = {"nodes": nodes, "pods": pods, "kind": kind}
    say(figure, pods / took, "pods/s", **about, since_first=round(pods / (begun + took - first)), events="on")
    say(f"{figure}-cpu", used / pods * 1e6, "us/pod", **about)
    if profile:
        pstats.Stats(profiler, stream=sys.stderr).sort_stats("tottime").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--nodes", default="1000,5000")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        uvloop.run(serve(args.serve))
        return
    gc.set_threshold(50_000, 20, 50)  # as `sampan scheduler` does; the served API server keeps the default
    kinds = args.kinds.split(",")
    for nodes in (int(n) for n in args.nodes.split(",")):
        for kind in kinds:
            measure_decisions(nodes, args.pods, kind)
        for kind in (k for k in kinds if k in ("bare", "owned")):
            uvloop.run(measure_binding(nodes, args.pods, kind, args.profile))
            uvloop.run(measure_served(nodes, args.pods, kind, args.profile))


if __name__ == "__main__":
    main()
