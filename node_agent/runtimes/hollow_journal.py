"""A hollow runtime whose containers outlive the agent's process, as real ones do.

Each start, end and removal is a line in a file, read again by the next process: an agent that was killed finds its
containers running. The file is also the record of how often each container was ever started.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from kubeapi.clock import Clock
from node_agent.runtimes.hollow import HollowRuntime
from node_agent.runtimes.interface import Container, ContainerSpec, Login, SandboxSpec


class Line(msgspec.Struct, omit_defaults=True):
    """What became of one container, or an image that was pulled."""

    container: Container | None = None
    spec: ContainerSpec | None = None
    """Only with the start."""
    removed: str = ""
    image: str = ""


def read(path: Path) -> list[Line]:
    """A last line that was cut short by a kill counts for nothing."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [msgspec.json.decode(line, type=Line) for line in lines]


class JournaledHollowRuntime(HollowRuntime):
    def __init__(self, path: Path, *, clock: Clock, prefix: str) -> None:
        """Inside the running loop: containers that end by themselves get their timers again."""
        super().__init__(clock=clock, prefix=prefix)
        for line in read(path):
            self._take(line)
        whole = path.read_bytes().rpartition(b"\n") if path.exists() else (b"", b"", b"")
        if whole[2]:
            path.write_bytes(whole[0] + whole[1])
        self._file = path.open("ab", buffering=0)
        for container in list(self._containers.values()):
            left = self.behaviour(container.id).exit_after
            if container.state == "running" and left is not None and container.started is not None:
                gone = (clock.now() - container.started).total_seconds()
                self._end_later(container.id, left - gone, self.behaviour(container.id).exit_code)

    def _take(self, line: Line) -> None:
        if line.image:
            self._images.add(line.image)
        if line.removed:
            for book in (self._containers, self._specs, self._ended):
                book.pop(line.removed, None)
        if (container := line.container) is not None:
            self._serial = max(self._serial, int(container.id.rpartition("-")[2]))
            if line.spec is not None:
                self._specs[container.id] = line.spec
            self._add(container)
            if container.state != "running":
                self._ended[container.id].set()

    def _write(self, line: Line) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")

    async def run_sandbox(self, spec: SandboxSpec) -> Container:
        sandbox = await super().run_sandbox(spec)
        self._write(Line(container=sandbox))
        return sandbox

    async def start_container(self, spec: ContainerSpec, sandbox: Container) -> Container:
        container = await super().start_container(spec, sandbox)
        self._write(Line(container=container, spec=spec))
        return container

    async def remove(self, container_id: str) -> None:
        await super().remove(container_id)
        self._write(Line(removed=container_id))

    async def pull_image(self, image: str, *, logins: Sequence[Login] = ()) -> None:
        await super().pull_image(image, logins=logins)
        self._write(Line(image=image))

    async def close(self) -> None:
        await super().close()
        self._file.close()

    def _end(self, container_id: str, code: int) -> None:
        super()._end(container_id, code)
        if (container := self._containers.get(container_id)) is not None:
            self._write(Line(container=container))
