"""A client that counts what it asks, for whichever transport: one request, its HTTP method, the code of its answer, its time.

    scheduler, controllers, node ──► MeasuredClient ──► GrpcClient, LocalClient
                                          └──► RequestMetrics

Verbs go under the HTTP methods that a client of Kubernetes would have used. Of a batch each write is a request, and the
round trip is timed once for each method in it; a watch is counted when it begins, and its time means nothing.
"""

from __future__ import annotations

import builtins
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from time import perf_counter
from typing import Any, Literal, Protocol, TypeVar, cast

from kubeapi.client.grpc_errors import answered
from kubeapi.client.interface import BatchResult, Client, Listing, PatchType, Propagation, WatchEvent, Write
from kubeapi.errors import ApiError

T = TypeVar("T")
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
NO_ANSWER = "<error>"
"""Instead of a code: the server was not reached, or said nothing. In the words of Kubernetes' clients."""
IN_PROCESS = "in-process"
"""Instead of a host."""


class RequestMetrics(Protocol):
    def asked(self, host: str, method: Method, code: str, seconds: float | None, number: int = 1) -> None:
        """`seconds` None: not timed. `number`: requests in one."""
        ...


class MeasuredClient:
    """Implements interface.Client."""

    def __init__(self, client: Client, *, host: str, metrics: RequestMetrics) -> None:
        self._client, self._host, self._metrics = client, host, metrics

    async def _asked(self, method: Method, success: str, answer: Awaitable[T]) -> T:
        begun = perf_counter()
        try:
            reply = await answer
        except Exception as error:
            self._metrics.asked(self._host, method, code_of(error), perf_counter() - begun)
            raise
        self._metrics.asked(self._host, method, success, perf_counter() - begun)
        return reply

    async def get(self, type_: type[T], name: str, namespace: str = "") -> T:
        return await self._asked("GET", "200", self._client.get(type_, name, namespace))

    async def list(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        next: str = "",
    ) -> Listing[T]:
        answer = self._client.list(
            type_, namespace, label_selector=label_selector, field_selector=field_selector, limit=limit, next=next
        )
        return await self._asked("GET", "200", answer)

    async def watch(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        resource_version: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        stream = self._client.watch(
            type_,
            namespace,
            resource_version=resource_version,
            label_selector=label_selector,
            field_selector=field_selector,
        )
        begun = False
        try:
            async with aclosing(cast(AsyncGenerator[Sequence[WatchEvent[T]], None], stream)) as batches:
                async for batch in batches:
                    if not begun:
                        begun = True
                        self._metrics.asked(self._host, "GET", "200", None)
                    yield batch
        except Exception as error:
            if not begun:
                self._metrics.asked(self._host, "GET", code_of(error), None)
            raise

    async def create(self, obj: T, *, subresource: str = "", name: str = "", namespace: str = "") -> T:
        answer = self._client.create(obj, subresource=subresource, name=name, namespace=namespace)
        return await self._asked("POST", "201", answer)

    async def update(self, obj: T, *, subresource: str = "") -> T:
        return await self._asked("PUT", "200", self._client.update(obj, subresource=subresource))

    async def patch(
        self,
        type_: type[T],
        name: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        kind: PatchType = "merge",
        namespace: str = "",
        subresource: str = "",
    ) -> T:
        answer = self._client.patch(type_, name, patch, kind=kind, namespace=namespace, subresource=subresource)
        return await self._asked("PATCH", "200", answer)

    async def delete(
        self,
        type_: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: int = 0,
    ) -> None:
        answer = self._client.delete(
            type_,
            name,
            namespace,
            grace_seconds=grace_seconds,
            propagation=propagation,
            uid=uid,
            resource_version=resource_version,
        )
        await self._asked("DELETE", "200", answer)

    async def batch(self, writes: Sequence[Write[T]]) -> builtins.list[BatchResult[T]]:
        begun = perf_counter()
        try:
            results = await self._client.batch(writes)
        except Exception as error:
            self._batch_done([(_method(write), code_of(error)) for write in writes], perf_counter() - begun)
            raise
        codes = [
            (_method(write), code_of(result.error) if result.error is not None else _success(write))
            for write, result in zip(writes, results, strict=True)
        ]
        self._batch_done(codes, perf_counter() - begun)
        return results

    def _batch_done(self, codes: Sequence[tuple[Method, str]], seconds: float) -> None:
        timed: set[Method] = set()
        for method, code in dict.fromkeys(codes):
            self._metrics.asked(
                self._host, method, code, None if method in timed else seconds, codes.count((method, code))
            )
            timed.add(method)


def code_of(error: Exception) -> str:
    return str(error.http) if isinstance(error, ApiError) and answered(error) else NO_ANSWER


def _method(write: Write[Any]) -> Method:
    return "POST" if write.verb == "create" else "PUT"


def _success(write: Write[Any]) -> str:
    return "201" if write.verb == "create" else "200"
