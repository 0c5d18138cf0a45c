"""Containers by a Docker engine: made, listed, stopped, removed.

    DockerRuntime ──► docker_spec      what is asked of the engine for a pod, and read from its answers
                  ──► docker_calls     short answers, over HTTP in the event loop
                  ──► docker_streams   logs, exec, attach
                  ──► docker_images    what is here, and what is pulled

The engine's event stream is only a hint; list() is the truth. A container's labels say which pod, attempt and node
it belongs to, and nothing about it is remembered elsewhere. Several agents may share one engine: each sees only the
containers labelled with its own node.
"""

import asyncio
import json
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from node_agent.images import PAUSE
from node_agent.runtimes.docker_calls import API_VERSION, EngineCalls, Refused, about_container
from node_agent.runtimes.docker_http import StreamingEngine
from node_agent.runtimes.docker_images import DockerImages
from node_agent.runtimes.docker_spec import (
    NODE,
    UID,
    container_name,
    container_of,
    container_options,
    sandbox_options,
    working_set,
)
from node_agent.runtimes.docker_streams import DockerStreams
from node_agent.runtimes.errors import (
    ContainerNotFound,
    CreateFailed,
    ImageNotFound,
    RuntimeFault,
    RuntimeUnavailable,
)
from node_agent.runtimes.hangup import kill_container, signal_container
from node_agent.runtimes.interface import Container, ContainerSpec, ExecStream, ImageInfo, Login, SandboxSpec
from node_agent.runtimes.namespaces import enters, own_namespace
from node_agent.runtimes.oom_scores import OomScores
from node_agent.runtimes.turns import Turns
from node_agent.vitals import container_usage

SANDBOX_OOM_SCORE = -998
LONGEST_END = 10.0
"""Seconds that the engine may take to notice that a killed container has ended."""
LONGEST_MOVE = 5.0
"""Seconds that a sandbox of the node's own network may take to go over to it."""


@dataclass(frozen=True, slots=True)
class _Known:
    container: Container
    stop_signal: str


class DockerRuntime:
    _known: dict[str, _Known]
    """Inspected containers by id, running or exited: a container never goes back to an earlier state, so one whose
    state is unchanged need not be inspected again."""
    _died: set[str]
    """Ids of which the engine has said that they ended: it says so before its own list knows, but an inspection
    waits until all is settled."""
    _killed: set[str]
    """Ids of sandboxes whose process is dead by our hand, whether the engine has noticed or not."""
    _ours: set[str]
    """Ids of containers that we start and of whose start the engine has not told yet: it is no news."""

    def __init__(
        self,
        *,
        node_name: str,
        base_url: str = "unix:///var/run/docker.sock",
        pause_image: str = PAUSE,
        log: logging.Logger | None = None,
        parallel: int | None = None,
        namespace: str | None = None,
    ) -> None:
        """`parallel`: how many containers are started or removed at a time; more than two per core take no less time
        altogether, and the first ones take longer. `namespace`: of the node's network, as a path; "" when it is the
        engine's own; None: the one we run in.
        """
        self._node = node_name
        self._pause = pause_image
        self._log = log or logging.getLogger("sampan.docker")
        self._engine = EngineCalls(base_url, version=API_VERSION)
        self._images = DockerImages(self._engine, base_url)
        self._streaming = StreamingEngine(base_url, version=API_VERSION)
        self._streams = DockerStreams(self._engine, self._streaming)
        self._turns = Turns(parallel or 2 * (os.cpu_count() or 1))
        self._known = {}
        self._died = set()
        self._ours = set()
        self._killed = set()
        self._scores = OomScores(self._log)
        self._namespace = namespace
        self.timed: Callable[[str], AbstractContextManager[object]] = nullcontext
        """Entered around create_container and start_container, to be measured apart."""

    async def prepare(self) -> None:
        """Makes sure that our own images are there."""
        if self._namespace is None:
            self._namespace = await asyncio.to_thread(own_namespace)
        if made := await self._images.ensure_ours():
            self._log.info("imported %s", ", ".join(made))

    async def version(self) -> str:
        found = await self._engine.json("GET", "/version")
        return f"docker://{found['Version']}"

    async def list(self) -> Sequence[Container]:
        filters = json.dumps({"label": [f"{NODE}={self._node}"]})
        rows = await self._engine.json("GET", "/containers/json", query={"all": "1", "filters": filters})
        found = await asyncio.gather(*(self._look(row["Id"], row["State"]) for row in rows))
        present = [container for container in found if container is not None]
        self._known = {c.id: self._known[c.id] for c in present if c.id in self._known}
        self._died &= {row["Id"] for row in rows if row["State"] == "running"}
        return present

    async def changes(self) -> AsyncGenerator[str, None]:
        filters = {
            "type": ["container"],
            "label": [f"{NODE}={self._node}"],
            "event": ["start", "die", "destroy"],
        }
        connection = await self._streaming.open("GET", "/events", query={"filters": json.dumps(filters)})
        try:
            buffer = b""
            yield ""
            async for data in connection.body():
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    if line.strip() and (uid := (event := json.loads(line))["Actor"]["Attributes"].get(UID)):
                        action, container_id = event.get("Action"), event["Actor"]["ID"]
                        if action == "die":
                            self._died.add(container_id)
                        if action == "start" and container_id in self._ours:
                            self._ours.discard(container_id)
                            continue
                        yield uid
        finally:
            await connection.close()
        raise RuntimeUnavailable("the Docker engine ended its event stream")

    async def run_sandbox(self, spec: SandboxSpec) -> Container:
        name = container_name("", spec.name, spec.namespace, spec.pod_uid, spec.attempt)
        score = self._scores.allowed(SANDBOX_OOM_SCORE)
        options = sandbox_options(
            spec, image=self._pause, node=self._node, oom_score_adj=score, namespace=self._namespace or ""
        )
        made = await self._create_and_start(name, options, sandbox=True)
        node = self._namespace if spec.host_network else ""
        if node and not await enters(made.pid, node, within=LONGEST_MOVE):  # containers join where it is then
            raise CreateFailed("the sandbox did not reach the node's network")
        return made

    async def start_container(self, spec: ContainerSpec, sandbox: Container) -> Container:
        name = container_name(spec.name, sandbox.pod_name, sandbox.pod_namespace, spec.pod_uid, spec.attempt)
        score = self._scores.allowed(spec.oom_score_adj)
        return await self._create_and_start(
            name, container_options(spec, sandbox, node=self._node, oom_score_adj=score)
        )

    async def stop(self, container_id: str, *, grace: float) -> None:
        try:
            found = self._known.get(container_id) if container_id not in self._died else None
            if found is None:
                found = self._note(await self._engine.inspect(container_id))
            if found.container.state != "running" or container_id in self._killed:
                return
            pid, at_once = found.container.pid, found.container.kind == "sandbox" and grace <= 0
            if at_once and await kill_container(pid, container_id, within=LONGEST_END):
                self._killed.add(container_id)
                return
            if grace > 0:
                await self._signal(container_id, pid, found.stop_signal)
                if await self._ends_within(container_id, grace):
                    return
            await self._signal(container_id, pid, "SIGKILL")
            await self._ends_within(container_id, LONGEST_END)
        except ContainerNotFound:
            return

    async def remove(self, container_id: str) -> None:
        """Of one that still runs its process is killed first: the engine would start another process to do that."""
        try:
            async with self._turns.last():
                known = self._known.get(container_id)
                pid = known.container.pid if known is not None and known.container.state == "running" else 0
                if container_id in self._killed or signal_container(pid, container_id, "SIGKILL"):
                    await self._ends_within(container_id, LONGEST_END)
                with about_container():
                    await self._engine.ask("DELETE", f"/containers/{container_id}", query={"force": "1", "v": "1"})
        except ContainerNotFound:
            return
        except RuntimeFault as error:
            if "already in progress" not in str(error):
                raise
        finally:
            self._known.pop(container_id, None)
            self._killed.discard(container_id)
            self._ours.discard(container_id)

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]:
        return self._streams.logs(container_id, follow=follow, tail=tail, since=since, timestamps=timestamps)

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecStream:
        return await self._streams.exec(container_id, command, tty=tty, stdin=stdin)

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> ExecStream:
        return await self._streams.attach(container_id, stdin=stdin)

    async def images(self) -> Sequence[ImageInfo]:
        return await self._images.all()

    async def has_image(self, image: str) -> bool:
        return await self._images.has(image)

    async def image_user(self, image: str) -> str:
        return await self._images.user(image)

    async def pull_image(self, image: str, *, logins: Sequence[Login] = ()) -> None:
        await self._images.pull(image, logins)

    async def usage(self) -> Mapping[str, tuple[float, int]]:
        """From the control groups; the engine is asked only where they cannot be seen (it is on another machine)."""
        running = [c for c in await self.list() if c.state == "running"]
        seen = await asyncio.to_thread(lambda: [container_usage(c.pid) if c.pid else None for c in running])
        found = {c.id: (u.cpu_seconds, u.memory_bytes) for c, u in zip(running, seen, strict=True) if u is not None}
        unseen = [c.id for c in running if c.id not in found]
        asked = await asyncio.gather(*(self._usage_of(container_id) for container_id in unseen))
        return found | {cid: usage for cid, usage in zip(unseen, asked, strict=True) if usage is not None}

    async def close(self) -> None:
        await self._engine.close()

    async def _usage_of(self, container_id: str) -> tuple[float, int] | None:
        try:
            with about_container():
                query = {"stream": "0", "one-shot": "1"}
                raw = await self._engine.json("GET", f"/containers/{container_id}/stats", query=query)
        except ContainerNotFound:
            return None
        cpu = raw.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)
        return cpu / 1e9, working_set(raw.get("memory_stats") or {})

    async def _look(self, container_id: str, state: str) -> Container | None:
        known = self._known.get(container_id) if container_id not in self._died else None
        if known is not None and known.container.state == state:
            return known.container
        try:
            return self._note(await self._engine.inspect(container_id)).container
        except ContainerNotFound:
            return None

    def _note(self, raw: Any) -> _Known:
        made = _Known(container_of(raw), raw["Config"].get("StopSignal") or "SIGTERM")
        if made.container.state != "created":
            self._known[made.container.id] = made
        return made

    async def _create_and_start(self, name: str, body: Mapping[str, Any], *, sandbox: bool = False) -> Container:
        timed = nullcontext if sandbox else self.timed
        with _creating():
            async with self._turns.later() if sandbox else self._turns.first():
                with timed("create_container"):
                    container_id = await self._create(name, body)
                self._ours.add(container_id)
                with timed("start_container"):
                    await self._engine.ask("POST", f"/containers/{container_id}/start")
            return self._note(await self._engine.inspect(container_id)).container

    async def _create(self, name: str, body: Mapping[str, Any]) -> str:
        try:
            made = await self._engine.json("POST", "/containers/create", query={"name": name}, body=body)
        except Refused as error:
            if error.status != 409:
                raise
            # Left by an attempt whose answer never arrived: it has not run under our eyes, so it may go.
            await self._engine.ask("DELETE", f"/containers/{name}", query={"force": "1"})
            made = await self._engine.json("POST", "/containers/create", query={"name": name}, body=body)
        return str(made["Id"])

    async def _signal(self, container_id: str, pid: int, name: str) -> None:
        if signal_container(pid, container_id, name):
            return
        try:
            with about_container():
                await self._engine.ask("POST", f"/containers/{container_id}/kill", query={"signal": name})
        except ContainerNotFound:
            return

    async def _ends_within(self, container_id: str, seconds: float) -> bool:
        try:
            with about_container():
                async with asyncio.timeout(seconds):
                    await self._engine.ask("POST", f"/containers/{container_id}/wait", seconds=None)
        except TimeoutError:
            return False
        return True


@contextmanager
def _creating() -> Iterator[None]:
    """A refusal is the container's own fault, unless the image is missing."""
    try:
        yield
    except Refused as error:
        if error.status == 404 and "No such image" in str(error):
            raise ImageNotFound(str(error)) from error
        # A missing command is also answered with 404, when a container starts.
        raise CreateFailed(str(error), exit_code=127 if error.status == 404 else 128) from error
