"""A runtime with no containers: state in memory, driven by the clock and the event loop alone.

It keeps the runtime contract, so that thousands of nodes fit in one process and tests run in virtual time. What an
image does is a Behaviour; tests script it, and users may set it through the container's environment
(HOLLOW_EXIT_AFTER, HOLLOW_EXIT_CODE, HOLLOW_READY_AFTER, HOLLOW_NEVER_READY).
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from kubeapi.clock import Clock
from node_agent.runtimes.errors import ContainerNotFound, CreateFailed, ImageNotFound
from node_agent.runtimes.interface import Container, ContainerSpec, ExecStream, ImageInfo, Login, SandboxSpec


@dataclass(frozen=True, slots=True)
class Behaviour:
    exit_after: float | None = None
    """Seconds from start to end; None runs until it is stopped."""
    exit_code: int = 0
    start_error: str = ""
    """Not empty: the container cannot be started, for this reason."""
    ignores_term: bool = False
    ready_after: float | None = 0.0
    """Seconds from start until readiness and startup probes succeed; None is never."""
    live_for: float | None = None
    """Seconds from start until the liveness probe fails; None is never."""
    output: bytes = b""
    stop_seconds: float = 0.0
    """Seconds from TERM to end."""
    exec_replies: Mapping[Sequence[str], tuple[int, bytes]] = field(default_factory=dict)
    """Answers to exec, by command; any other command exits 0 and echoes its stdin."""
    pull_seconds: float = 0.0
    absent: bool = False
    """No registry has this image."""
    user: str = "65532"
    """Whom the image runs as: not root, so that a pod that insists on it runs on a hollow node too."""
    login: Login | None = None
    """Only who has this one may pull it."""


class HollowRuntime:
    _containers: dict[str, Container]
    """By container id; removed ones are gone."""
    _images: set[str]
    """Pulled here."""

    def __init__(
        self,
        *,
        clock: Clock,
        behaviours: Mapping[str, Behaviour] | None = None,
        prefix: str = "hollow",
        kill_code: int = 137,
    ) -> None:
        self._clock = clock
        self._behaviours = dict(behaviours or {})
        self._prefix = prefix
        self._kill_code = kill_code
        self._containers = {}
        self._specs: dict[str, ContainerSpec] = {}
        self._logs: dict[str, list[tuple[datetime, bytes]]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._listeners: set[asyncio.Queue[str | None]] = set()
        self._images = set()
        self._serial = 0
        self.signals: dict[str, list[str]] = {}
        """By container name, what was sent to it: for tests."""

    def script(self, image: str, behaviour: Behaviour) -> None:
        self._behaviours[image] = behaviour

    def behaviour(self, container_id: str) -> Behaviour:
        """What this container does; its environment has the last word."""
        spec = self._specs.get(container_id)
        if spec is None:
            return Behaviour()
        found = self._behaviours.get(spec.image, Behaviour())
        scripted: dict[str, Any] = _scripted(spec.env)
        return replace(found, **scripted)

    async def version(self) -> str:
        return "hollow://1"

    async def list(self) -> Sequence[Container]:
        return list(self._containers.values())

    async def changes(self) -> AsyncGenerator[str, None]:
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            yield ""
            while (uid := await queue.get()) is not None:
                yield uid
        finally:
            self._listeners.discard(queue)

    async def run_sandbox(self, spec: SandboxSpec) -> Container:
        now = self._clock.now()
        sandbox = Container(
            id=self._new_id(), pod_uid=spec.pod_uid, name="", attempt=spec.attempt, spec_hash="", kind="sandbox",
            image="pause", image_id="pause", state="running", created=now, started=now, pid=self._serial,
            pod_name=spec.name, pod_namespace=spec.namespace,
        )  # fmt: skip
        self._add(sandbox)
        return sandbox

    async def start_container(self, spec: ContainerSpec, sandbox: Container) -> Container:
        if spec.image not in self._images:
            raise ImageNotFound(f"no such image: {spec.image}")
        if sandbox.id not in self._containers:
            raise ContainerNotFound(f"no sandbox {sandbox.id}")
        now = self._clock.now()
        container = Container(
            id=self._new_id(), pod_uid=spec.pod_uid, name=spec.name, attempt=spec.attempt, spec_hash=spec.spec_hash,
            kind=spec.kind, image=spec.image, image_id=f"hollow:{spec.image}", state="running", created=now, started=now,
            pod_name=sandbox.pod_name, pod_namespace=sandbox.pod_namespace, backoff_step=spec.backoff_step,
        )  # fmt: skip
        self._specs[container.id] = spec
        behaviour = self.behaviour(container.id)
        if behaviour.start_error:
            self._containers[container.id] = replace(
                container,
                state="exited",
                exit_code=128,
                message=behaviour.start_error,
                started=None,
                finished=now,
            )
            self._ended[container.id] = asyncio.Event()
            self._ended[container.id].set()
            raise CreateFailed(behaviour.start_error)
        self._add(container)
        if behaviour.output:
            self._logs[container.id] = [(now, line) for line in behaviour.output.splitlines(keepends=True)]
        if behaviour.exit_after is not None:
            self._end_later(container.id, behaviour.exit_after, behaviour.exit_code)
        return container

    async def stop(self, container_id: str, *, grace: float) -> None:
        container = self._containers.get(container_id)
        if container is None or container.state != "running":
            return
        behaviour = self.behaviour(container_id)
        if grace > 0:
            self._signal(container, "TERM")
            if not behaviour.ignores_term:
                delay = min(behaviour.stop_seconds, grace)
                code = 0 if container.kind == "sandbox" or behaviour.stop_seconds <= grace else self._kill_code
                self._end_later(container_id, delay, code)
            try:
                async with asyncio.timeout(grace):
                    await self._ended[container_id].wait()
            except TimeoutError:
                pass
        if self._containers.get(container_id, container).state == "running":
            self._signal(container, "KILL")
            self._end(container_id, self._kill_code)

    async def remove(self, container_id: str) -> None:
        if (container := self._containers.get(container_id)) is None:
            return
        if container.state == "running":
            self._end(container_id, self._kill_code)
        del self._containers[container_id]
        for book in (self._specs, self._logs, self._ended):
            book.pop(container_id, None)

    async def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        if container_id not in self._containers:
            raise ContainerNotFound(container_id)
        lines = [(at, line) for at, line in self._logs.get(container_id, ()) if since is None or at >= since]
        for at, line in lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]:
            yield f"{at:%Y-%m-%dT%H:%M:%S.%fZ} ".encode() + line if timestamps else line
        if follow and (ended := self._ended.get(container_id)) is not None:
            await ended.wait()

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecStream:
        container = self._containers.get(container_id)
        if container is None or container.state != "running":
            raise ContainerNotFound(f"container {container_id} is not running")
        code, reply = self.behaviour(container_id).exec_replies.get(tuple(command), (0, b""))
        return HollowExec(reply, code, stdin=stdin)

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> ExecStream:
        return await self.exec(container_id, (), tty=tty, stdin=stdin)

    async def images(self) -> Sequence[ImageInfo]:
        return [ImageInfo(id=f"hollow:{name}", names=[name], size=0) for name in sorted(self._images)]

    async def has_image(self, image: str) -> bool:
        return image in self._images

    async def image_user(self, image: str) -> str:
        return self._behaviours.get(image, Behaviour()).user

    async def pull_image(self, image: str, *, logins: Sequence[Login] = ()) -> None:
        behaviour = self._behaviours.get(image, Behaviour())
        if behaviour.login is not None and behaviour.login not in logins:
            raise ImageNotFound(
                f"pull access denied for {image}, repository does not exist or may require 'docker login'"
            )
        if behaviour.pull_seconds:
            await asyncio.sleep(behaviour.pull_seconds)
        if behaviour.absent:
            raise ImageNotFound(f"manifest for {image} not found")
        self._images.add(image)

    async def usage(self) -> Mapping[str, tuple[float, int]]:
        now = self._clock.now()
        return {
            c.id: ((now - c.started).total_seconds() * 0.001, 1 << 20)
            for c in self._containers.values()
            if c.state == "running" and c.started is not None
        }

    async def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        for queue in self._listeners:
            queue.put_nowait(None)

    def crash(self, container_id: str, exit_code: int = 1) -> None:
        """The process ends by itself, now: for tests."""
        self._end(container_id, exit_code)

    def _new_id(self) -> str:
        self._serial += 1
        return f"{self._prefix}-{self._serial}"

    def _add(self, container: Container) -> None:
        self._containers[container.id] = container
        self._ended[container.id] = asyncio.Event()
        self._tell(container.pod_uid)

    def _end_later(self, container_id: str, delay: float, code: int) -> None:
        if delay <= 0:
            return self._end(container_id, code)
        if (timer := self._timers.pop(container_id, None)) is not None:
            timer.cancel()
        self._timers[container_id] = asyncio.get_running_loop().call_later(delay, self._end, container_id, code)

    def _end(self, container_id: str, code: int) -> None:
        if (timer := self._timers.pop(container_id, None)) is not None:
            timer.cancel()
        container = self._containers.get(container_id)
        if container is None or container.state != "running":
            return
        self._containers[container_id] = replace(
            container, state="exited", exit_code=code, finished=self._clock.now(), pid=0
        )
        self._ended[container_id].set()
        self._tell(container.pod_uid)

    def _signal(self, container: Container, signal: str) -> None:
        self.signals.setdefault(container.name, []).append(signal)

    def _tell(self, uid: str) -> None:
        for queue in self._listeners:
            queue.put_nowait(uid)


class HollowExec:
    """Writes its reply, then echoes what it is given, until stdin ends."""

    def __init__(self, reply: bytes, code: int, *, stdin: bool) -> None:
        self._code = code
        self._output: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._done = asyncio.Event()
        if reply:
            self._output.put_nowait(reply)
        if not stdin:
            self._finish()

    async def output(self) -> AsyncIterator[tuple[int, bytes]]:
        while (data := await self._output.get()) is not None:
            yield 1, data

    async def write(self, data: bytes) -> None:
        if not self._done.is_set():
            self._output.put_nowait(data)

    async def close_stdin(self) -> None:
        self._finish()

    async def resize(self, width: int, height: int) -> None:
        return None

    async def exit_code(self) -> int:
        await self._done.wait()
        return self._code

    async def close(self) -> None:
        self._finish()

    def _finish(self) -> None:
        if not self._done.is_set():
            self._done.set()
            self._output.put_nowait(None)


_NUMBERS: Mapping[str, tuple[str, Callable[[str], float | int]]] = {
    "HOLLOW_EXIT_AFTER": ("exit_after", float),
    "HOLLOW_EXIT_CODE": ("exit_code", int),
    "HOLLOW_READY_AFTER": ("ready_after", float),
    "HOLLOW_LIVE_FOR": ("live_for", float),
}


def _scripted(env: Mapping[str, str]) -> dict[str, Any]:
    """The parts of a behaviour that the environment sets. A value that is no number is not ours to judge."""
    found: dict[str, Any] = {}
    for name, (attribute, parse) in _NUMBERS.items():
        if name in env:
            try:
                found[attribute] = parse(env[name])
            except ValueError:
                continue
    if env.get("HOLLOW_NEVER_READY"):
        found["ready_after"] = None
    return found
