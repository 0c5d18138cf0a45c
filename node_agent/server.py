"""What the API server asks of this node: logs, exec, attach, port-forward, stats. gRPC, mutual TLS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import grpc
import grpc.aio
from cryptography import x509

from kubeapi.clock import Clock
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.pb.sampan.v1 import node_pb2_grpc as pb_grpc
from node_agent.dialing import Dialer
from node_agent.parts import Observer
from node_agent.runtimes.errors import ContainerNotFound, RuntimeFault, RuntimeUnavailable
from node_agent.runtimes.interface import Container, ExecStream, Runtime

CHUNK = 64 * 1024
TRUSTED_NAMES = frozenset({"kube-apiserver", "system:kube-apiserver", "sampan-apiserver"})
TRUSTED_GROUP = "system:masters"


@dataclass(frozen=True, slots=True)
class Tls:
    certificate: bytes
    key: bytes
    ca: bytes


class NodeServer(pb_grpc.NodeAgentServicer):  # type: ignore[misc]
    _last: dict[str, tuple[float, float]]
    """By container id: when its CPU time was last read, and what it was."""

    def __init__(
        self, *, node: str, runtime: Runtime, observer: Observer, dialer: Dialer, clock: Clock, secure: bool
    ) -> None:
        self._node = node
        self._runtime = runtime
        self._observer = observer
        self._dialer = dialer
        self._clock = clock
        self._secure = secure
        self._last = {}

    async def ContainerLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._admit(context)
        container = await self._find(request.container, context, previous=request.previous)
        since = datetime.fromisoformat(request.since_time) if request.since_time else None
        left = request.limit_bytes if request.HasField("limit_bytes") else None
        try:
            async for data in self._runtime.logs(
                container.id,
                follow=request.follow,
                tail=request.tail_lines if request.HasField("tail_lines") else None,
                since=since,
                timestamps=request.timestamps,
            ):
                if left is not None:
                    data, left = data[:left], left - len(data)
                if data:
                    yield pb.ContainerLogsReply(data=data)
                if left is not None and left <= 0:
                    return
        except RuntimeFault as error:
            await _abort(context, error)

    async def Exec(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for reply in self._stream(requests, context, attach=False):
            yield reply

    async def Attach(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        async for reply in self._stream(requests, context, attach=True):
            yield reply

    async def PortForward(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._admit(context)
        start = (await anext(requests)).start
        sandbox = next((c for c in await self._pod(start) if c.kind == "sandbox" and c.state == "running"), None)
        if sandbox is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"pod {start.namespace}/{start.pod} does not run here")
            return
        try:
            reader, writer = await self._dialer.dial(sandbox.pid, "127.0.0.1", start.port)
        except OSError as error:
            text = f"cannot connect to port {start.port} of pod {start.pod}: {error}"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
            return
        yield pb.PortForwardOutput(connected=True)

        async def send() -> None:
            async for message in requests:
                if message.WhichOneof("input") == "close":
                    break
                writer.write(message.data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

        async with _beside(send()):
            try:
                while data := await reader.read(CHUNK):
                    yield pb.PortForwardOutput(data=data)
                yield pb.PortForwardOutput(close=True)
            except ConnectionError as error:
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
            finally:
                writer.close()

    async def Stats(self, request: Any, context: Any) -> Any:
        await self._admit(context)
        try:
            usage = await self._runtime.usage()
            by_pod = await self._observer.all()
        except RuntimeFault as error:
            await _abort(context, error)
        now = self._clock.monotonic()
        rates = self._rates(usage, now)
        pods, cores, memory = [], 0.0, 0
        for uid, containers in by_pod.items():
            stats = []
            for container in containers:
                if container.id not in usage:
                    continue
                cores += rates[container.id]
                memory += usage[container.id][1]
                if container.kind != "sandbox":
                    cpu, used = rates[container.id], usage[container.id][1]
                    stats.append(pb.ContainerStats(name=container.name, cpu_cores=cpu, memory_bytes=used))
            if stats:
                first = containers[0]
                pods.append(pb.PodStats(namespace=first.pod_namespace, name=first.pod_name, uid=uid, containers=stats))
        return pb.StatsReply(
            node=self._node,
            timestamp=self._clock.now().isoformat().replace("+00:00", "Z"),
            window_seconds=15.0,
            cpu_cores=cores,
            memory_bytes=memory,
            pods=pods,
        )

    def _rates(self, usage: Mapping[str, tuple[float, int]], now: float) -> dict[str, float]:
        """Cores since the last time somebody asked; 0 the first time."""
        rates = {}
        for container_id, (cpu, _) in usage.items():
            then, before = self._last.get(container_id, (now, cpu))
            rates[container_id] = max(0.0, (cpu - before) / (now - then)) if now > then else 0.0
        self._last = {container_id: (now, cpu) for container_id, (cpu, _) in usage.items()}
        return rates

    async def _stream(self, requests: AsyncIterator[Any], context: Any, *, attach: bool) -> AsyncIterator[Any]:
        await self._admit(context)
        start = (await anext(requests)).start
        container = await self._find(start.container, context)
        try:
            if attach:
                stream = await self._runtime.attach(container.id, tty=start.tty, stdin=start.stdin)
            else:
                stream = await self._runtime.exec(container.id, list(start.command), tty=start.tty, stdin=start.stdin)
        except RuntimeFault as error:
            await _abort(context, error)
        try:
            async with _beside(_feed(requests, stream)):
                async for channel, data in stream.output():
                    if channel == 2:
                        if start.stderr:
                            yield pb.StreamOutput(stderr=data)
                    elif start.stdout:
                        yield pb.StreamOutput(stdout=data)
                yield pb.StreamOutput(exit=pb.Exit(code=await stream.exit_code()))
        finally:
            await stream.close()

    async def _find(self, ref: Any, context: Any, *, previous: bool = False) -> Container:
        mine = [c for c in await self._pod(ref) if c.kind != "sandbox"]
        if ref.container:
            mine = [c for c in mine if c.name == ref.container]
        mine.sort(key=lambda c: (c.kind == "app", c.attempt))
        if previous:
            newest = {c.name: c.id for c in mine}
            mine = [c for c in mine if newest[c.name] != c.id]
        if not mine:
            which = "previous terminated container" if previous else "container"
            text = f'{which} "{ref.container}" in pod "{ref.pod}" not found'
            await context.abort(grpc.StatusCode.NOT_FOUND, text)
        return mine[-1]

    async def _pod(self, ref: Any) -> Iterable[Container]:
        found = await self._observer.all()
        if ref.pod_uid:
            return found.get(ref.pod_uid, ())
        return [c for cs in found.values() for c in cs if (c.pod_namespace, c.pod_name) == (ref.namespace, ref.pod)]

    async def _admit(self, context: Any) -> None:
        """Only the API server and administrators. The transport has already checked the certificate's chain."""
        if not self._secure:
            return
        names = {part.decode() for part in context.auth_context().get("x509_common_name", ())}
        if not names & TRUSTED_NAMES and TRUSTED_GROUP not in _organizations(context):
            text = f"{', '.join(sorted(names)) or 'an unnamed caller'} may not ask this node"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)


async def start_server(servicer: NodeServer, *, address: str, tls: Tls | None) -> tuple[grpc.aio.Server, int]:
    """A running server and its port. `address` is host:port; port 0 takes a free one."""
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", 16 << 20)])
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


async def _feed(requests: AsyncIterator[Any], stream: ExecStream) -> None:
    with contextlib.suppress(ConnectionError):
        async for message in requests:
            match message.WhichOneof("input"):
                case "stdin":
                    await stream.write(message.stdin)
                case "close_stdin":
                    await stream.close_stdin()
                case "resize":
                    await stream.resize(message.resize.width, message.resize.height)


@contextlib.asynccontextmanager
async def _beside(work: Any) -> AsyncIterator[None]:
    """Runs `work` while the body runs, and no longer; its failure is the caller's connection ending, no more."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _abort(context: Any, error: RuntimeFault) -> NoReturn:
    code = grpc.StatusCode.INTERNAL
    if isinstance(error, ContainerNotFound):
        code = grpc.StatusCode.NOT_FOUND
    elif isinstance(error, RuntimeUnavailable):
        code = grpc.StatusCode.UNAVAILABLE
    await context.abort(code, str(error))
    raise error


def _organizations(context: Any) -> set[str]:
    groups: set[str] = set()
    for pem in context.auth_context().get("x509_pem_cert", ()):
        subject = x509.load_pem_x509_certificate(pem).subject
        groups |= {str(a.value) for a in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)}
    return groups
