"""Requests per second over HTTPS with 32 connections, on etcd (fsync) and on SQLite; a yardstick of each store beside them.

    python -m tests.bench.api [--count 3000] [--repeat 3] [--stores etcd,sqlite]

`cpu` is the API server's own time per request, which other work on the machine disturbs less than the rate. Baselines:
etcd: transactions of one put each, from 32 callers at once. sqlite: commits of one row each, synchronous. Lists: the same
bytes copied over a loopback TLS connection would be the floor; the time per list stands alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import uvloop
from aetcd import rpc
from aetcd.rpc import rpc_pb2_grpc

from tests.bench import load
from tests.bench.common import Rig, cpu_seconds, median, resident_mib, rig, say

ROOT = "/api/v1/namespaces/bench"


def config_map(i: int, generation: int = 0) -> bytes:
    data = {k: k * 100 for k in "abc"} | {"gen": str(generation)}
    labels = {"app": "bench", "shard": str(i % 10)}
    return _json("ConfigMap", {"name": f"cm-{i:06}", "namespace": "bench", "labels": labels}, data=data)


def pod(i: int) -> bytes:
    amounts = {"cpu": "100m", "memory": "500Mi"}
    container = {
        "name": "main", "image": "busybox:latest", "command": ["sleep", "36000"],
        "env": [{"name": "A", "value": "1"}, {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"containerPort": 80, "name": "http"}],
        "resources": {"requests": amounts, "limits": amounts},
        "readinessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }  # fmt: skip
    spec = {
        "automountServiceAccountToken": False,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return _json("Pod", {"name": f"pod-{i:06}", "namespace": "bench", "labels": {"app": "bench"}}, spec=spec)


def node(i: int) -> bytes:
    return _json("Node", {"name": f"node-{i:05}", "labels": {"kubernetes.io/os": "linux"}}, spec={})


def node_status() -> bytes:
    amounts = {"cpu": "32", "memory": "256Gi", "pods": "110"}
    return json.dumps({"status": {"capacity": amounts, "allocatable": amounts}}).encode()


def _json(kind: str, metadata: object, **fields: object) -> bytes:
    return json.dumps({"apiVersion": "v1", "kind": kind, "metadata": metadata, **fields}).encode()


def cases(count: int) -> list[tuple[str, Callable[[], Sequence[bytes]]]]:
    """In an order that leaves nothing behind. Each is made anew for every repetition."""
    merge = "application/merge-patch+json"
    each = range(count)
    maps, pods = f"{ROOT}/configmaps", f"{ROOT}/pods"
    return [
        ("ConfigMap create", lambda: [load.request("POST", maps, config_map(i)) for i in each]),
        ("ConfigMap get", lambda: [load.request("GET", f"{maps}/cm-{i:06}") for i in each]),
        ("ConfigMap update", lambda: [load.request("PUT", f"{maps}/cm-{i:06}", config_map(i, 1)) for i in each]),
        (
            "ConfigMap merge patch",
            lambda: [load.request("PATCH", f"{maps}/cm-{i:06}", b'{"data":{"gen":"2"}}', merge) for i in each],
        ),
        ("list ConfigMaps", lambda: [load.request("GET", maps)] * 10),
        ("ConfigMap delete", lambda: [load.request("DELETE", f"{maps}/cm-{i:06}") for i in each]),
        ("Pod create", lambda: [load.request("POST", pods, pod(i)) for i in each]),
        ("list Pods", lambda: [load.request("GET", pods)] * 10),
        ("Pod delete", lambda: [load.request("DELETE", f"{pods}/pod-{i:06}?gracePeriodSeconds=0") for i in each]),
        ("Node create", lambda: [load.request("POST", "/api/v1/nodes", node(i)) for i in range(500)]),
        (
            "Node status patch",
            lambda: [
                load.request("PATCH", f"/api/v1/nodes/node-{i:05}/status", node_status(), merge) for i in range(500)
            ],
        ),
        ("Node delete", lambda: [load.request("DELETE", f"/api/v1/nodes/node-{i:05}") for i in range(500)]),
    ]


async def make_namespace(bench: Rig) -> None:
    made = load.request("POST", "/api/v1/namespaces", _json("Namespace", {"name": "bench"}))
    await load.run(bench.port, bench.tls(), [made], connections=1)


Figures = tuple[float, float, float, float]
"""Requests per second, or for a list its milliseconds; median and 99th percentile in seconds; µs of CPU per request."""


async def every_case(bench: Rig, count: int) -> dict[str, Figures]:
    """Each case once, in order."""
    api, found = bench.processes["apiserver"].pid, {}
    for name, make in cases(count):
        requests, one = make(), name.startswith("list")
        before = cpu_seconds(api)
        result = await load.run(bench.port, bench.tls(), requests, connections=1 if one else 32)
        cpu = (cpu_seconds(api) - before) / len(requests) * 1e6
        figure = result.quantile(0.5) * 1e3 if one else result.rate
        found[name] = (figure, result.quantile(0.5), result.quantile(0.99), cpu)
    return found


async def measure(bench: Rig, store: str, count: int, repeat: int) -> None:
    api = bench.processes["apiserver"].pid
    await make_namespace(bench)
    rates: dict[str, list[Figures]] = {}
    raw = []
    for _ in range(repeat):
        raw.append(await etcd_rate(bench.etcd.endpoint) if bench.etcd is not None else sqlite_rate(bench.folder))
        for name, figures in (await every_case(bench, count)).items():
            rates.setdefault(name, []).append(figures)
    for name, found in rates.items():
        value, p50, p99, cpu = (median(column) for column in zip(*found, strict=True))
        about: dict[str, Any] = {"store": store, "p50_ms": p50 * 1e3, "p99_ms": p99 * 1e3, "cpu_us": cpu}
        if name.startswith("list"):
            say("api", f"{count} {name}", value, "ms", **about)
        else:
            say("api", name, value, "1/s", baseline=median(raw), yardstick=f"{store}: single commits/s", **about)
    say("memory", "API server after the load", resident_mib(api), "MiB", store=store, objects=count)


async def etcd_rate(endpoint: str, seconds: float = 1.0) -> float:
    value, done = b"x" * 500, 0
    async with grpc.aio.insecure_channel(endpoint) as channel:
        kv = rpc_pb2_grpc.KVStub(channel)
        end = time.perf_counter() + seconds

        async def write(worker: int) -> None:
            nonlocal done
            while time.perf_counter() < end:
                put = rpc.RequestOp(request_put=rpc.PutRequest(key=f"/raw/{worker}/{done}".encode(), value=value))
                await kv.Txn(rpc.TxnRequest(success=[put]))
                done += 1

        await asyncio.gather(*(write(i) for i in range(32)))
        await kv.DeleteRange(rpc.DeleteRangeRequest(key=b"/raw/", range_end=b"/raw0"))
    return done / seconds


def sqlite_rate(folder: Path, seconds: float = 1.0) -> float:
    with sqlite3.connect(folder / "raw.db", isolation_level=None) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS raw (key INTEGER PRIMARY KEY, value BLOB)")
        done, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            database.execute("INSERT INTO raw (value) VALUES (?)", (b"x" * 500,))
            done += 1
    return done / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--stores", default="etcd,sqlite")
    args = parser.parse_args()
    for store in args.stores.split(","):
        with rig() as bench:
            bench.start_api(store)
            bench.wait_ready()
            uvloop.run(measure(bench, store, args.count, args.repeat))


if __name__ == "__main__":
    main()
