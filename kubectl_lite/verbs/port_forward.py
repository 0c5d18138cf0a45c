"""port-forward: listen here; every connection becomes one into the pod. One that fails is told of and harms no other.

A service is followed to one of its pods, and its port to that pod's. Runs until it is interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from kubeapi.errors import ApiError
from kubectl_lite.choosing import one_pod
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


@dataclass(frozen=True, slots=True)
class Pair:
    here: int
    """0: any free one."""
    there: str
    """In the pod (of a service: its port), as a number or a name."""


def _flags(flags: Flags) -> None:
    flags.value("--address", default="localhost", help="where to listen, commas between them", metavar="ADDRESSES")


def pair(text: str) -> Pair:
    """`8080`, `8080:80`, `:80`, `8080:http`; raises UsageError."""
    here, colon, there = text.partition(":")
    there = there if colon else here
    here = here if here or not colon else "0"
    if not there or (colon and not here.isdigit()) or int(here if here.isdigit() else 0) > 65535:
        raise UsageError(f"{text!r} is no port: write PORT, HERE:THERE or :THERE")
    if there.isdigit() and not 0 < int(there) < 65536:
        raise UsageError(f"{text!r}: a port is a number from 1 to 65535")
    return Pair(int(here) if here.isdigit() else 0, there)


def pod_port(pod: dict[str, Any], there: str, service: dict[str, Any] | None) -> int:
    """Pure. Through the service's targetPort when there is one. Raises UsageError."""
    wanted: int | str = int(there) if there.isdigit() else there
    if service is not None:
        ports = service["spec"].get("ports") or []
        found = next((p for p in ports if wanted in (p.get("port"), p.get("name"))), None)
        if found is None:
            raise UsageError(f"Service {service['metadata']['name']} does not have a service port {there}")
        wanted = found.get("targetPort") or found["port"]
    if isinstance(wanted, int):
        return wanted
    named = {p.get("name"): p["containerPort"] for c in pod["spec"]["containers"] for p in c.get("ports") or []}
    if wanted not in named:
        raise UsageError(f"Pod '{pod['metadata']['name']}' does not have a named port '{wanted}'")
    return int(named[wanted])


async def run(args: argparse.Namespace, session: Session) -> int:
    if len(args.words) < 2:
        raise UsageError("TYPE/NAME and list of ports are required for port-forward: port-forward web-1 8080:80")
    what, *texts = args.words
    pairs = [pair(text) for text in texts]
    pod = await one_pod(what, session)
    phase = pod.get("status", {}).get("phase", "")
    if phase != "Running":
        raise Failed(f"unable to forward port because pod is not running. Current status={phase or 'Pending'}")
    service = None
    if "/" in what:
        target = (await session.names.targets([what]))[0]
        if target.resource.kind == "Service":
            service = await session.server.get(target.resource, target.name, session.namespace)
    async with AsyncExitStack() as stack:
        for wish in pairs:
            port = pod_port(pod, wish.there, service)
            await stack.enter_async_context(_listening(pod, wish.here, port, args.address, session))
        session.io.out.flush()
        await asyncio.Event().wait()
    return 0


@asynccontextmanager
async def _listening(
    pod: dict[str, Any], here: int, there: int, address: str, session: Session
) -> AsyncIterator[asyncio.Server]:
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session.io.say(f"Handling connection for {writer.get_extra_info('sockname')[1]}")
        session.io.out.flush()
        try:
            await session.server.forward(name, namespace, there, reader, writer)
        except ApiError as error:
            session.io.tell(f"error: port {there} of pod {name}: {error}")
        except ConnectionError:
            pass  # the caller here has gone: nobody is left to tell
        finally:
            writer.close()

    hosts = ["127.0.0.1" if host == "localhost" else host for host in address.split(",")]
    try:
        server = await asyncio.start_server(serve, hosts, here)
    except OSError as error:
        raise Failed(f"unable to listen on port {here}: {error}") from error
    async with server:
        for socket in server.sockets:
            host, port = socket.getsockname()[:2]
            session.io.say(f"Forwarding from {f'[{host}]' if ':' in host else host}:{port} -> {there}")
        yield server


VERB = Verb(
    help="Reach ports of a pod from here.",
    usage="(POD | TYPE/NAME) [HERE:]THERE ... [flags]",
    examples="""
# Port 8080 here is 80 in a pod of the deployment
kubectl-lite port-forward deploy/web 8080:80
# Any free port here, a service's port by its name
kubectl-lite port-forward svc/web :http
""",
    flags=_flags,
    run=run,
)
