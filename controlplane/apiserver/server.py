"""One API server: the core around a store, and both doors open. `async with api_server(...)`; it stops with the block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio

from controlplane.apiserver.api import Api
from controlplane.apiserver.auth.authn import TokenSource
from controlplane.apiserver.auth.tokens import TokenKeys
from controlplane.apiserver.build import SERVICE_CIDR, api_core
from controlplane.apiserver.cache_metrics import CacheMetrics
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.access import Access
from controlplane.apiserver.doors.calls import Calls, find
from controlplane.apiserver.doors.grpc import OPTIONS, GrpcDoor
from controlplane.apiserver.doors.http import HttpDoor
from controlplane.apiserver.doors.http1 import HttpServer, server_context
from controlplane.apiserver.doors.metrics import Metrics
from controlplane.apiserver.streaming.node_link import NodeLink
from controlplane.apiserver.streaming.sessions import Sessions
from controlplane.apiserver.usage import Usage, UsageApi
from controlplane.storage.interface import Store
from controlplane.storage.metrics import MeasuredStore, StoreMetrics, StoreSize
from kubeapi.clock import Clock
from kubeapi.codec import to_builtins
from kubeapi.metrics import Certificates
from kubeapi.pb.sampan.v1 import api_pb2_grpc

GRACE = 1.0
"""Seconds that calls under way get when the server stops."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files, PEM. The certificate serves, and is shown to the nodes' agents."""

    cert: Path
    key: Path
    ca: Path


@dataclass(frozen=True, slots=True)
class ApiServer:
    api: Api
    host: str
    port: int
    grpc_port: int


@asynccontextmanager
async def api_server(
    *,
    store: Store,
    clock: Clock,
    rng: Random,
    tls: Tls,
    host: str = "127.0.0.1",
    port: int = 0,
    grpc_port: int = 0,
    advertise: str = "",
    service_cidr: str = SERVICE_CIDR,
    tokens: Iterable[TokenSource] = (),
    token_keys: TokenKeys | None = None,
    log_writes: bool = False,
) -> AsyncIterator[ApiServer]:
    """`advertise` is the address that nodes reach us by; ports of 0 are chosen by the system."""
    public = advertise or host
    metrics, access = Metrics(), Access(clock=clock, rng=rng, writes=log_writes)
    metrics.before_scrape(StoreSize(store, metrics.registry).ask)
    async with api_core(
        store=MeasuredStore(store, StoreMetrics(metrics.registry)),
        clock=clock,
        rng=rng,
        service_cidr=service_cidr,
        address=public,
        port=port or 6443,
        tokens=tokens,
        token_keys=token_keys,
    ) as api:
        CacheMetrics(api.cache, metrics.registry)
        certificates = Certificates(metrics.registry)
        cert, key, ca = tls.cert.read_bytes(), tls.key.read_bytes(), tls.ca.read_bytes()
        certificates.show("server", cert)
        certificates.show("ca", ca)
        link = NodeLink(_getter(api), credentials=grpc.ssl_channel_credentials(ca, key, cert))
        sessions = Sessions(link, clock)
        usage = UsageApi(Usage(link, clock=clock), api, nodes=find("", "v1", "nodes"), pods=find("", "v1", "pods"))
        calls = Calls(api, authenticator=api.authenticator, authorizer=api.authorizer, usage=usage)
        http = HttpDoor(
            calls,
            sessions=sessions,
            metrics=metrics,
            clock=clock,
            ready=api.cache.ready,
            address=f"{public}:{port}",
            access=access,
        )
        door = GrpcDoor(calls, sessions=sessions, metrics=metrics, clock=clock, access=access)
        server = grpc.aio.server(options=OPTIONS)
        api_pb2_grpc.add_ApiServerServicer_to_server(door, server)
        credentials = grpc.ssl_server_credentials([(key, cert)], root_certificates=ca, require_client_auth=True)
        try:
            async with HttpServer(
                http.handle,
                tls=server_context(str(tls.cert), str(tls.key), str(tls.ca)),
                shown=lambda ends: metrics.certificate_shown(ends - clock.now().timestamp()),
            ) as listener:
                bound_grpc = server.add_secure_port(f"{host}:{grpc_port}", credentials)
                await server.start()
                bound = await listener.listen(host, port)
                yield ApiServer(api, host, bound, bound_grpc)
        finally:
            await server.stop(GRACE)
            await link.close()


def _getter(api: Api) -> Any:
    async def get(plural: str, namespace: str, name: str) -> dict[str, Any]:
        item = await api.get(RequestContext(), find("", "v1", plural), namespace, name, resource_version="0")
        found: dict[str, Any] = to_builtins(item.object)
        return found

    return get
