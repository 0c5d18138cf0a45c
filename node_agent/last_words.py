"""What containers said when they ended: the file at their termination message path, or else the end of their log."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from kubeapi.types.core_v1 import Container as ContainerWish
from node_agent.runtimes.interface import Container, Runtime

MOST_BYTES, MOST_LOG_BYTES, MOST_LOG_LINES = 4096, 2048, 80


class LastWords:
    texts: dict[str, str]
    """By container id, of those that have ended; each is looked for once."""

    def __init__(self, runtime: Runtime, home: Path | None) -> None:
        self._runtime = runtime
        self._home = home
        self.texts = {}

    async def hear(self, containers: Iterable[Container], wishes: Mapping[str, ContainerWish]) -> None:
        for container in containers:
            if container.state != "exited" or container.kind == "sandbox" or container.id in self.texts:
                continue
            text = ""
            if self._home is not None:
                path = self._home / "containers" / container.name / f"{container.attempt}.log"
                text = await asyncio.to_thread(_start_of, path)
            wish = wishes.get(container.name)
            fallback = wish is not None and wish.termination_message_policy == "FallbackToLogsOnError"
            if not text and fallback and container.exit_code:
                parts = [part async for part in self._runtime.logs(container.id, tail=MOST_LOG_LINES)]
                text = b"".join(parts)[-MOST_LOG_BYTES:].decode(errors="replace")
            self.texts[container.id] = text


def _start_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return ""
