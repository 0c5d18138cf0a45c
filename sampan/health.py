"""A component's own small HTTP door: /metrics for Prometheus, /healthz, /livez and /readyz for whoever watches over it.

Plain HTTP, reading only; meant for the machine itself or a network that is trusted with numbers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric

from kubeapi.metrics import Certificates, about_process

PATIENCE = 5.0
"""Seconds that a client has to say what it wants, and to take the answer."""
LONGEST = 8192
_TEXT = "text/plain; charset=utf-8"

Check = Callable[[], str]
"""What is wrong; empty: nothing."""


@asynccontextmanager
async def serve(
    address: str, *, registry: CollectorRegistry, ready: Check = lambda: "", log: logging.Logger | None = None
) -> AsyncIterator[str]:
    """Yields where it listens, HOST:PORT. An empty `address` serves nothing. Raises OSError if the port is taken."""
    if not address:
        yield ""
        return
    logger = log or logging.getLogger("health")
    page = Together([process_registry(), registry])
    pages: Mapping[str, Callable[[], tuple[int, str, bytes]]] = {
        "/metrics": lambda: (200, CONTENT_TYPE_LATEST, generate_latest(page)),
        "/healthz": lambda: (200, _TEXT, b"ok"),
        "/livez": lambda: (200, _TEXT, b"ok"),
        "/readyz": lambda: (503, _TEXT, problem.encode()) if (problem := ready()) else (200, _TEXT, b"ok"),
    }

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                request = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split(None, 2)
                writer.write(_answer(request, pages))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            logger.debug("a client of the health port went wrong: %s", error)
        finally:
            writer.close()

    host, _, port = address.rpartition(":")
    server = await asyncio.start_server(converse, host.strip("[]") or None, int(port), limit=LONGEST)
    async with server:
        name = server.sockets[0].getsockname()
        yield f"{name[0]}:{name[1]}"


class Together(CollectorRegistry):
    """Several registries on one page; a metric that several have is told once, with the samples of all."""

    def __init__(self, registries: Iterable[CollectorRegistry]) -> None:
        super().__init__()
        self._registries = list(registries)

    def collect(self) -> Iterable[Metric]:
        found: dict[str, Metric] = {}
        for registry in self._registries:
            for metric in registry.collect():
                if metric.name in found:
                    found[metric.name].samples.extend(metric.samples)
                else:
                    found[metric.name] = metric
        return found.values()


def process_registry() -> CollectorRegistry:
    registry = CollectorRegistry()
    about_process(registry)
    return registry


def show_client(registry: CollectorRegistry, *, cert: bytes | None, ca: bytes | None) -> None:
    """When the certificate that this component shows the API server ends, and the authority's."""
    certificates = Certificates(registry)
    certificates.show("client", cert)
    certificates.show("ca", ca)


def _answer(request: list[str], pages: Mapping[str, Callable[[], tuple[int, str, bytes]]]) -> bytes:
    method, path = (request[0], request[1].partition("?")[0]) if len(request) == 3 else ("", "")
    page = pages.get(path)
    if method not in ("GET", "HEAD"):
        status, kind, body = 405, _TEXT, b"only GET and HEAD"
    elif page is None:
        status, kind, body = 404, _TEXT, f"there are: {', '.join(pages)}\n".encode()
    else:
        status, kind, body = page()
    words = {200: "OK", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
    head = (
        f"HTTP/1.1 {status} {words[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if method == "HEAD" else body)
