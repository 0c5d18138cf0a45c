"""Watch fan-out over HTTPS: one object is updated again and again, all watchers must see each update.

    python -m tests.bench.watch [--watchers 100,1000] [--updates 100] [--repeat 3] [--store etcd]

Closed loop: the next update is sent when the last one is acknowledged, not when it is delivered. Delivery latency is from
the request to the event's arrival. The watchers run in this one process, which is the bottleneck beyond some thousands;
the yardstick shows it: a bare TLS server that writes as many bytes to as many connections, one write each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any

import uvloop

from tests.bench import load
from tests.bench.api import ROOT, _json, make_namespace
from tests.bench.common import Rig, cpu_seconds, median, rig, say

SEQUENCE = re.compile(rb'"seq":"S(\d{6})"')
EVENT = b"x" * 700


class _Watcher(asyncio.Protocol):
    """Notes when each update arrived."""

    def __init__(self, ask: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._ask, self._tail = ask, b""
        self.seen: dict[int, float] = {}
        self.wanted = 0
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self._ask)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if not self.begun.done():
            self.begun.set_result(None)
        text = self._tail + data
        last = 0
        for match in SEQUENCE.finditer(text):
            self.seen.setdefault(int(match[1]), now)
            last = match.end()
        self._tail = text[max(last, len(text) - 16) :]
        if self.wanted in self.seen and not self.ended.done():
            self.ended.set_result(None)


async def connect(port: int, tls: ssl.SSLContext, watchers: int, ask: bytes) -> list[_Watcher]:
    loop, made = asyncio.get_running_loop(), []
    for start in range(0, watchers, 50):
        several = (
            loop.create_connection(lambda: _Watcher(ask), "127.0.0.1", port, ssl=tls, server_hostname="localhost")
            for _ in range(min(50, watchers - start))
        )
        made += [watcher for _, watcher in await asyncio.gather(*several)]
    await asyncio.gather(*(watcher.begun for watcher in made))
    return made


@dataclass(frozen=True, slots=True)
class Round:
    rate: float
    """Events delivered per second."""
    p50: float
    """Seconds from the request to an event's arrival."""
    p99: float
    cpu: float
    """The API server's, µs per event."""


async def fan_out(bench: Rig, watchers: int, updates: int, repeat: int) -> list[Round]:
    tls, api = bench.tls(), bench.processes["apiserver"].pid
    path = f"{ROOT}/configmaps"
    rounds = []

    def body(sequence: int) -> bytes:
        data = {"seq": f"S{sequence:06}", "filler": "x" * 300}
        return _json("ConfigMap", {"name": "watched", "namespace": "bench"}, data=data)

    await load.run(bench.port, tls, [load.request("POST", path, body(0))], connections=1)
    number = 0
    for _ in range(repeat):
        version = json.loads(await asyncio.to_thread(bench.get, path))["metadata"]["resourceVersion"]
        ask = load.request("GET", f"{path}?watch=1&resourceVersion={version}")
        opened = await connect(bench.port, tls, watchers, ask)
        for watcher in opened:
            watcher.wanted = number + updates
        sent: dict[int, float] = {}
        numbers = range(number + 1, number + updates + 1)
        first, number = numbers[0], numbers[-1]

        def put(of: int, sent: dict[int, float] = sent) -> bytes:
            sent[of] = time.perf_counter()
            return load.request("PUT", f"{path}/watched", body(of))

        before, begun = cpu_seconds(api), time.perf_counter()
        await load.run(bench.port, tls, map(put, numbers), connections=1)
        await asyncio.wait_for(asyncio.gather(*(watcher.ended for watcher in opened)), 60)
        took = time.perf_counter() - begun
        cost = (cpu_seconds(api) - before) / updates / watchers * 1e6
        late = sorted(at - sent[n] for watcher in opened for n, at in watcher.seen.items() if n >= first)
        if len(late) != updates * watchers:
            raise RuntimeError(f"{updates * watchers - len(late)} events were not delivered")
        rounds.append(Round(len(late) / took, late[len(late) // 2], late[int(len(late) * 0.99)], cost))
        for watcher in opened:
            watcher.transport.close()
    await load.run(bench.port, tls, [load.request("DELETE", f"{path}/watched")], connections=1)
    return rounds


async def measure(bench: Rig, watchers: int, updates: int, repeat: int, store: str) -> None:
    raw, rounds = [], []
    for _ in range(repeat):
        raw.append(await bare_rate(bench, bench.tls(), watchers))
        rounds += await fan_out(bench, watchers, updates, 1)
    about: dict[str, Any] = {"store": store, "watchers": watchers, "cpu_us": median([r.cpu for r in rounds])}
    name, rate = f"fan-out to {watchers} watchers", median([r.rate for r in rounds])
    say("watch", name, rate, "events/s", baseline=median(raw), yardstick="bare TLS writes/s", **about)
    for label, column in (("p50", [r.p50 for r in rounds]), ("p99", [r.p99 for r in rounds])):
        say("watch", f"delivery to {watchers} watchers, {label}", median(column) * 1e3, "ms", store=store)


class _Bare(asyncio.Protocol):
    def __init__(self, opened: list[Any]) -> None:
        self._opened = opened

    def connection_made(self, transport: Any) -> None:
        self._opened.append(transport)
        transport.write(b"hello")


async def bare_rate(bench: Rig, tls: ssl.SSLContext, watchers: int, rounds: int = 20) -> float:
    """Both ends in this process: so it is about half of what two processes would reach."""
    served = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    served.load_cert_chain(bench.pki / "apiserver.crt", bench.pki / "apiserver.key")
    opened: list[Any] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Bare(opened), "127.0.0.1", 0, ssl=served)
    readers = await connect(server.sockets[0].getsockname()[1], tls, watchers, b"x")
    for reader in readers:
        reader.wanted = rounds
    begun = time.perf_counter()
    for number in range(1, rounds + 1):
        for transport in opened:
            transport.write(b'"seq":"S%06d"' % number + EVENT)
        await asyncio.sleep(0)
    await asyncio.gather(*(reader.ended for reader in readers))
    took = time.perf_counter() - begun
    for reader in readers:
        reader.transport.close()
    server.close()
    await asyncio.sleep(0.1)
    return rounds * watchers / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--watchers", default="100,1000")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--store", default="etcd", choices=["etcd", "sqlite"])
    args = parser.parse_args()
    with rig() as bench:
        bench.start_api(args.store)
        bench.wait_ready()
        uvloop.run(make_namespace(bench))
        for watchers in (int(w) for w in args.watchers.split(",")):
            uvloop.run(measure(bench, watchers, args.updates, args.repeat, args.store))


if __name__ == "__main__":
    main()
