"""A load generator as light as Python can: ready-made requests over keep-alive TLS connections, replies only measured.

It shares the machine with the server it measures, so what it costs is the server's loss: no HTTP library, no parsing of
bodies. Each connection sends its next request when the last one is answered.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any


def request(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


@dataclass(frozen=True, slots=True)
class Result:
    seconds: float
    latencies: Sequence[float]
    """Sorted."""

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, q: float) -> float:
        return self.latencies[int(q * (len(self.latencies) - 1))]


class _Worker(asyncio.Protocol):
    def __init__(self, requests: Iterator[bytes], latencies: list[float]) -> None:
        self._requests, self._latencies = requests, latencies
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._have, self._need = b"", 0
        self._chunked = False
        """The reply's end is told by an empty chunk: Kubernetes answers so where a body is large."""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(exc or ConnectionResetError("the server hung up"))

    def send(self) -> None:
        following = next(self._requests, None)
        if following is None:
            self.ended.set_result(None)
            return
        self._begun = time.perf_counter()
        self._transport.write(following)

    def data_received(self, data: bytes) -> None:
        if self._chunked:
            self._have = self._have[-4:] + data[-5:]
            self._end_of_chunks()
            return
        if self._need:
            self._need -= len(data)
        else:
            self._have += data
            end = self._have.find(b"\r\n\r\n")
            if end < 0:
                return
            if self._have[9:10] != b"2":
                self.ended.set_exception(RuntimeError(self._have[:600].decode()))
                self._transport.close()
                return
            at = self._have.find(b"Content-Length: ", 0, end + 2) + 16
            if at < 16:
                self._have = self._have[end:]
                self._chunked = True
                self._end_of_chunks()
                return
            length = int(self._have[at : self._have.index(b"\r", at)])
            self._need = length - (len(self._have) - end - 4)
            self._have = b""
        if self._need == 0:
            self._answered()

    def _end_of_chunks(self) -> None:
        """One request at a time: what ends so can be nothing else."""
        if self._have.endswith(b"0\r\n\r\n"):
            self._chunked, self._have = False, b""
            self._answered()

    def _answered(self) -> None:
        self._latencies.append(time.perf_counter() - self._begun)
        self.send()


async def run(port: int, tls: ssl.SSLContext, requests: Iterable[bytes], connections: int = 32) -> Result:
    """Raises RuntimeError with the reply of a request that was not answered with success."""
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    shared = iter(requests)
    workers = []
    for _ in range(connections):
        _, worker = await loop.create_connection(
            lambda: _Worker(shared, latencies), "127.0.0.1", port, ssl=tls, server_hostname="localhost"
        )
        workers.append(worker)
    begun = time.perf_counter()
    for worker in workers:
        worker.send()
    try:
        await asyncio.gather(*(worker.ended for worker in workers))
        return Result(time.perf_counter() - begun, sorted(latencies))
    finally:
        for worker in workers:
            worker._transport.close()
