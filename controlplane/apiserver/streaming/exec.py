"""exec and attach: one conversation with the node's agent, whatever the client speaks.

    client ──inputs()──► StreamInput ──► agent
    client ◄──emit(channel, data)────── StreamOutput ◄── agent

ends with a metav1.Status when the command ends, or with None when the client left: then the agent's call is
cancelled, and the agent ends the process. An end of stdin is no end of the conversation. Each direction waits
for its reader, so that a gigabyte either way passes through a few kilobytes here.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio

from controlplane.apiserver.streaming.node_link import EOF, NodeLink
from kubeapi.errors import ApiError, BadRequest
from kubeapi.pb.sampan.v1 import node_pb2 as pb
from kubeapi.request_id import outgoing

STDOUT, STDERR = 1, 2
Emit = Callable[[int, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What the client asked for, from the query or from gRPC's first message."""

    namespace: str
    pod: str
    container: str = ""
    command: Sequence[str] = ()
    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False
    attach: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A wish that the pod can fulfil."""

    pod: dict[str, Any]
    start: pb.StreamStart
    attach: bool


async def prepare(link: NodeLink, wish: Wish) -> Plan:
    """Before any upgrade, so that a refusal is an ordinary error reply. Raises ApiError."""
    if not (wish.stdin or wish.stdout or wish.stderr):
        raise BadRequest("you must specify at least one of stdin, stdout, stderr")
    if wish.tty and wish.stderr:
        wish = replace(wish, stderr=False)
    if not wish.attach and not wish.command:
        raise BadRequest("you must specify at least one command for the container")
    pod = await link.pod(wish.namespace, wish.pod)
    phase = pod.get("status", {}).get("phase", "")
    if phase in ("Succeeded", "Failed"):
        verb = "attach to" if wish.attach else "exec into"
        raise BadRequest(f"cannot {verb} a container in a completed pod; current phase is {phase}")
    container = container_of(pod, wish.container)
    if not pod.get("spec", {}).get("nodeName"):
        raise BadRequest(f"pod {wish.pod} does not have a host assigned")
    if why := why_not_running(pod, container):
        raise BadRequest(why)
    start = pb.StreamStart(
        container=reference(pod, container),
        command=list(wish.command),
        stdin=wish.stdin,
        stdout=wish.stdout,
        stderr=wish.stderr,
        tty=wish.tty,
    )
    return Plan(pod, start, wish.attach)


async def converse(
    link: NodeLink,
    plan: Plan,
    inputs: AsyncGenerator[pb.StreamInput, None],
    emit: Emit,
    gone: asyncio.Event | None = None,
) -> dict[str, Any] | None:
    """None when the client has gone: `inputs` has ended, or `gone` is set. The latter is for a door that can tell
    even while it does not read, because the command does not."""
    try:
        async with link.agent_of(plan.pod) as agent:
            ask = agent.Attach if plan.attach else agent.Exec
            call = ask(metadata=outgoing())
            try:
                async with aclosing(inputs):
                    return await _both_ways(call, plan.start, inputs, emit, gone or asyncio.Event())
            finally:
                call.cancel()
    except ApiError as error:
        return error.status()


async def _both_ways(
    call: Any, start: pb.StreamStart, inputs: AsyncGenerator[pb.StreamInput, None], emit: Emit, gone: asyncio.Event
) -> dict[str, Any] | None:
    async def to_agent() -> None:
        open_ = True
        async for item in inputs:
            if open_:
                try:
                    await call.write(item)
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    open_ = False  # the agent is done; why, the other direction will tell

    async def to_client() -> dict[str, Any]:
        while (output := await call.read()) is not EOF:
            which = output.WhichOneof("output")
            if which == "exit":
                return exit_status(output.exit.code)
            if which is not None:
                await emit(STDOUT if which == "stdout" else STDERR, getattr(output, which))
        code = await call.code()
        if code is grpc.StatusCode.OK:
            return exit_status(0)
        raise grpc.aio.AioRpcError(
            code, await call.initial_metadata(), await call.trailing_metadata(), await call.details(), None
        )

    with suppress(asyncio.InvalidStateError):  # the call has ended already: to_client() tells why
        await call.write(pb.StreamInput(start=start))
    up, down, left = asyncio.create_task(to_agent()), asyncio.create_task(to_client()), asyncio.create_task(gone.wait())
    tasks = (up, down, left)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if down.done():
            return down.result()
        if up.done():
            up.result()
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def exit_status(code: int) -> dict[str, Any]:
    """What stands on the error channel: clients read the exit code from its cause."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def container_of(pod: dict[str, Any], wanted: str) -> str:
    """The container's name; the pod's only one when none is named. BadRequest."""
    spec = pod.get("spec", {})
    name = pod["metadata"]["name"]
    apps = [c["name"] for c in spec.get("containers", [])]
    every = [*apps, *(c["name"] for k in ("initContainers", "ephemeralContainers") for c in spec.get(k, []))]
    if wanted:
        if wanted not in every:
            raise BadRequest(f"container {wanted} is not valid for pod {name}, choose one of: [{' '.join(every)}]")
        return wanted
    preferred = pod["metadata"].get("annotations", {}).get("kubectl.kubernetes.io/default-container", "")
    if preferred in apps:
        return str(preferred)
    if len(apps) == 1:
        return str(apps[0])
    raise BadRequest(f"a container name must be specified for pod {name}, choose one of: [{' '.join(apps)}]")


def why_not_running(pod: dict[str, Any], container: str) -> str:
    """Empty when the pod's status says that it runs, or says nothing of it."""
    state = (status_of(pod, container) or {}).get("state") or {}
    if "waiting" in state:
        return f'container "{container}" in pod "{pod["metadata"]["name"]}" is not running: {_reason(state["waiting"])}'
    if "terminated" in state:
        ended = state["terminated"]
        text = f"{ended.get('reason') or 'it has ended'}, exit code {ended.get('exitCode', 0)}"
        return f'container "{container}" in pod "{pod["metadata"]["name"]}" is not running: {text}'
    return ""


def status_of(pod: dict[str, Any], container: str) -> dict[str, Any] | None:
    """The container's status, as the node's agent wrote it last."""
    status = pod.get("status", {})
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return next((c for kind in kinds for c in status.get(kind, []) if c.get("name") == container), None)


def _reason(waiting: dict[str, Any]) -> str:
    return ": ".join(filter(None, (waiting.get("reason"), waiting.get("message")))) or "it waits to start"


def reference(pod: dict[str, Any], container: str) -> pb.ContainerRef:
    meta = pod["metadata"]
    return pb.ContainerRef(
        namespace=meta["namespace"], pod=meta["name"], pod_uid=meta.get("uid", ""), container=container
    )
