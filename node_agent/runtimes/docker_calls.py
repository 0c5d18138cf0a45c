"""Questions to a Docker engine that have one short answer: HTTP over a few kept connections, in the event loop.

A pod's start is some ten of them. Each costs 0.2 ms here; through the SDK it was a thread's wake-up and 2 ms, and the
SDK with requests 8 MiB (docs/decisions/0012-containers.md). Streams (logs, exec, events) are docker_http.py's.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

from node_agent.runtimes.errors import ContainerNotFound, RuntimeFault, RuntimeUnavailable

API_VERSION = "1.41"
LONGEST = 60.0
"""Seconds that the engine may take for one answer, unless said otherwise."""
_IDLE = 8
"""Connections that are kept for the next question."""


class Refused(RuntimeFault):
    """The engine understood, and says no."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Stale(Exception):
    """A kept connection had ended before the engine read the question."""


class EngineCalls:
    _kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    """Idle: their last answer has been read to its end."""

    def __init__(self, base_url: str, *, version: str) -> None:
        """`base_url`: unix:///path or tcp://host:port."""
        self._url = urlsplit(base_url)
        self._prefix = f"/v{version}"
        self._kept = []
        self._closed = False

    async def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = LONGEST,
    ) -> bytes:
        """The answer's body. Raises Refused, or RuntimeUnavailable when there is no answer; TimeoutError is one.

        Cancelled in the middle, the engine may do it or not: look what is there.
        """
        question = self._question(method, path, query, body, headers)
        try:
            async with asyncio.timeout(seconds):
                while self._kept:
                    try:
                        return await self._exchange(self._kept.pop(), question)
                    except _Stale:
                        continue
                return await self._exchange(await self._connect(), question)
        except _Stale as error:
            raise RuntimeUnavailable("the Docker engine does not answer: it hung up") from error
        except TimeoutError as error:
            raise RuntimeUnavailable(f"the Docker engine does not answer: nothing came in {seconds} s") from error
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise RuntimeUnavailable(f"the Docker engine does not answer: {error}") from error

    async def json(self, method: str, path: str, **options: Any) -> Any:
        return json.loads(await self.ask(method, path, **options))

    async def inspect(self, container_id: str) -> Any:
        """All that it knows of a container. Raises ContainerNotFound."""
        with about_container():
            return await self.json("GET", f"/containers/{container_id}/json")

    async def close(self) -> None:
        self._closed = True
        while self._kept:
            _, writer = self._kept.pop()
            writer.transport.abort()

    def _question(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Any, headers: Mapping[str, str] | None
    ) -> bytes:
        target = self._prefix + path + (f"?{urlencode(query)}" if query else "")
        payload = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {target} HTTP/1.1", "Host: docker", f"Content-Length: {len(payload)}"]
        if body is not None:
            lines.append("Content-Type: application/json")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        return "\r\n".join([*lines, "", ""]).encode() + payload

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._url.scheme in ("unix", "http+unix"):
            return await asyncio.open_unix_connection(self._url.path)
        return await asyncio.open_connection(self._url.hostname, self._url.port)

    async def _exchange(self, ends: tuple[asyncio.StreamReader, asyncio.StreamWriter], question: bytes) -> bytes:
        reader, writer = ends
        whole = False
        try:
            if reader.at_eof() or writer.is_closing():
                raise _Stale
            writer.write(question)
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (ConnectionError, asyncio.IncompleteReadError) as error:
                if isinstance(error, asyncio.IncompleteReadError) and error.partial:
                    raise
                raise _Stale from error
            status, fields = _head(head)
            data = await _body(reader, status, fields)
            whole = fields.get("connection") != "close"
        finally:
            if whole and not self._closed and len(self._kept) < _IDLE:
                self._kept.append(ends)
            else:
                writer.transport.abort()
        if status >= 400:
            raise Refused(status, message_of(data))
        return data


@contextmanager
def about_container() -> Iterator[None]:
    """Around a call that is refused where the container in question is gone, or does not run: ContainerNotFound."""
    try:
        yield
    except Refused as error:
        if error.status == 404 or "is not running" in str(error):
            raise ContainerNotFound(str(error)) from error
        raise


def _head(raw: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = raw.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip().lower() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split(" ", 2)[1]), fields


async def _body(reader: asyncio.StreamReader, status: int, fields: Mapping[str, str]) -> bytes:
    if status in (204, 304):
        return b""
    if fields.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(fields.get("content-length", "0")))
    parts = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return b"".join(parts)


def message_of(raw: bytes) -> str:
    try:
        return str(json.loads(raw)["message"])
    except (ValueError, KeyError, TypeError):
        return raw.decode(errors="replace") or "the Docker engine refused"
