"""The gRPC service: who may ask, which container is meant, and errors as gRPC statuses. The work is in its neighbours."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import grpc
import grpc.aio
from prometheus_client import CONTENT_TYPE_LATEST

from kubeapi import request_id
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, BadRequest, InternalError, NotFound, ServiceUnavailable
from kubeapi.logs import Subject, concerns
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.pb.sampan.v1 import node_pb2_grpc as pb_grpc
from node_agent.dialing import Dialer
from node_agent.parts import Observer
from node_agent.runtimes.errors import ContainerNotFound, RuntimeFault, RuntimeUnavailable
from node_agent.runtimes.interface import Container, Runtime
from node_agent.server.commands import run_command
from node_agent.server.forwarding import forward
from node_agent.server.logs import read_log
from node_agent.server.stats import MACHINE, Rates, stats_reply
from node_agent.vitals import Usage

STATUS_KEY = "sampan-status-bin"
TRUSTED_NAMES = frozenset({"kube-apiserver", "system:kube-apiserver", "sampan-apiserver"})
TRUSTED_GROUP = "system:masters"
OPTIONS = [
    ("grpc.max_receive_message_length", 16 << 20),
    # The API server asks for signs of life while a stream is open, and so do we: a dead peer's commands must end.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


@dataclass(frozen=True, slots=True)
class Tls:
    certificate: bytes
    key: bytes
    ca: bytes


class NodeServer(pb_grpc.NodeAgentServicer):  # type: ignore[misc]
    def __init__(
        self,
        *,
        node: str,
        runtime: Runtime,
        observer: Observer,
        dialer: Dialer,
        clock: Clock,
        secure: bool,
        machine: Callable[[], Usage] | None = None,
        numbers: Callable[[], bytes] = bytes,
        log: logging.Logger | None = None,
    ) -> None:
        """`machine` blocks shortly; None: there is none of its own. `numbers`: /metrics as Prometheus reads it."""
        self._machine, self._numbers = machine, numbers
        self._log = log or logging.getLogger("sampan.node.server")
        self._node = node
        self._runtime = runtime
        self._observer = observer
        self._dialer = dialer
        self._clock = clock
        self._secure = secure
        self._rates = Rates()

    # The streamed calls write their replies themselves: a generator that the transport drops in the middle would
    # be closed whenever the garbage collector finds it, and the command of a client that has gone with it.

    async def ContainerLogs(self, request: Any, context: Any) -> None:
        try:
            with _told():
                self._admit(context)
                self._serve(context, "logs", request.container)
                container = await self._find(request.container, previous=request.previous)
                since = datetime.fromisoformat(request.since_time) if request.since_time else None
                async with aclosing(read_log(self._runtime, container, request, since)) as pieces:
                    async for data in pieces:
                        await context.write(pb.ContainerLogsReply(data=data))
        except ApiError as error:
            await _abort(context, error)

    async def Exec(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._command(requests, context, attach=False)

    async def Attach(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._command(requests, context, attach=True)

    async def _command(self, requests: AsyncIterator[Any], context: Any, *, attach: bool) -> None:
        try:
            with _told():
                self._admit(context)
                start = (await _first(requests)).start
                self._serve(context, "attach" if attach else "exec", start.container)
                container = await self._find(start.container)
                if container.state != "running":
                    raise BadRequest(f'container "{container.name}" in pod "{start.container.pod}" is not running')
                async with aclosing(run_command(self._runtime, container, start, requests, attach=attach)) as replies:
                    async for reply in replies:
                        await context.write(reply)
        except ApiError as error:
            await _abort(context, error)

    async def PortForward(self, requests: AsyncIterator[Any], context: Any) -> None:
        try:
            with _told():
                self._admit(context)
                start = (await _first(requests)).start
                self._serve(context, f"port-forward to {start.port}", start)
                sandbox = next(
                    (c for c in await self._pod(start) if c.kind == "sandbox" and c.state == "running"), None
                )
                if sandbox is None:
                    raise NotFound(f"pod {start.namespace}/{start.pod} does not run on node {self._node}")
                async with aclosing(forward(self._dialer, sandbox, start, requests)) as replies:
                    async for reply in replies:
                        await context.write(reply)
        except ApiError as error:
            await _abort(context, error)

    async def Stats(self, request: Any, context: Any) -> Any:
        try:
            with _told():
                self._admit(context)
                usage, by_pod = dict(await self._runtime.usage()), await self._observer.all()
                if self._machine is not None:
                    whole = await asyncio.to_thread(self._machine)
                    usage[MACHINE] = (whole.cpu_seconds, whole.memory_bytes)
        except ApiError as error:
            await _abort(context, error)
        rates = self._rates.since_last(usage, self._clock.monotonic())
        return stats_reply(self._node, self._clock.now(), usage, rates, by_pod, window=self._rates.window)

    async def Metrics(self, request: Any, context: Any) -> Any:
        try:
            self._admit(context)
        except ApiError as error:
            await _abort(context, error)
        return pb.MetricsReply(content_type=CONTENT_TYPE_LATEST, body=self._numbers())

    def _serve(self, context: Any, what: str, of: Any) -> None:
        """This task now works for that request: all its lines of the log bear the request's id and the pod's name."""
        request_id.current.set(request_id.incoming(context.invocation_metadata()))
        concerns(Subject("Pod", of.namespace, of.pod))
        container = getattr(of, "container", "")
        self._log.info("%s%s", what, f", container {container}" if container else "")

    async def _find(self, ref: Any, *, previous: bool = False) -> Container:
        """The newest attempt, or the one before it. Raises BadRequest, NotFound."""
        mine = [c for c in await self._pod(ref) if c.kind != "sandbox"]
        if ref.container:
            mine = [c for c in mine if c.name == ref.container]
        mine.sort(key=lambda c: (c.kind == "app", c.attempt))
        if previous:
            newest = {c.name: c.id for c in mine}
            mine = [c for c in mine if newest[c.name] != c.id]
            if not mine:
                text = f'previous terminated container "{ref.container}" in pod "{ref.pod}" not found'
                raise BadRequest(text)
        if not mine:
            raise NotFound(f'container "{ref.container}" in pod "{ref.pod}" not found')
        return mine[-1]

    async def _pod(self, ref: Any) -> Iterable[Container]:
        found = await self._observer.all()
        if ref.pod_uid:
            return found.get(ref.pod_uid, ())
        return [c for cs in found.values() for c in cs if (c.pod_namespace, c.pod_name) == (ref.namespace, ref.pod)]

    def _admit(self, context: Any) -> None:
        """Only the API server and administrators. The transport has already checked the certificate's chain."""
        if not self._secure:
            return
        names = {part.decode() for part in context.auth_context().get("x509_common_name", ())}
        if not names & TRUSTED_NAMES and TRUSTED_GROUP not in _organizations(context):
            raise _NotTrusted(f"{', '.join(sorted(names)) or 'an unnamed caller'} may not ask this node")


async def start_server(servicer: NodeServer, *, address: str, tls: Tls | None) -> tuple[grpc.aio.Server, int]:
    """A running server and its port. `address` is host:port; port 0 takes a free one."""
    server = grpc.aio.server(options=OPTIONS)
    pb_grpc.add_NodeAgentServicer_to_server(servicer, server)
    if tls is None:
        port = server.add_insecure_port(address)
    else:
        credentials = grpc.ssl_server_credentials(
            [(tls.key, tls.certificate)], root_certificates=tls.ca, require_client_auth=True
        )
        port = server.add_secure_port(address, credentials)
    await server.start()
    return server, port


class _NotTrusted(ApiError):
    reason, http, grpc = "Forbidden", 403, "PERMISSION_DENIED"


async def _first(requests: AsyncIterator[Any]) -> Any:
    message = await anext(requests, None)
    if message is None or message.WhichOneof("input") != "start":
        raise BadRequest("the first message of a stream is its start")
    return message


@contextmanager
def _told() -> Iterator[None]:
    """A runtime's faults as errors that the API server passes on."""
    try:
        yield
    except ContainerNotFound as error:
        raise NotFound(str(error)) from error
    except RuntimeUnavailable as error:
        raise ServiceUnavailable(str(error)) from error
    except RuntimeFault as error:
        raise InternalError(str(error)) from error


async def _abort(context: Any, error: ApiError) -> None:
    trailer = ((STATUS_KEY, json.dumps(error.status()).encode()),)
    await context.abort(grpc.StatusCode[error.grpc], error.message, trailer)


def _organizations(context: Any) -> set[str]:
    groups: set[str] = set()
    from cryptography import x509  # 6 MiB: not before somebody asks who is not the API server by name

    for pem in context.auth_context().get("x509_pem_cert", ()):
        subject = x509.load_pem_x509_certificate(pem).subject
        groups |= {str(a.value) for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)}
    return groups
