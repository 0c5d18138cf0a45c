"""What every verb gets: the server, the namespace it works in, and the streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from kubeapi.client.interface import Client
from kubeapi.scheme import Resource
from kubectl_lite.streams import Streams


class Remote(Protocol):
    """One command running in a container."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def exit_code(self) -> int: ...


class Server(Client, Protocol):
    """The client, and what only a person asks for."""

    async def table(
        self, resource: Resource, namespace: str, name: str, *, label_selector: str, field_selector: str
    ) -> dict[str, Any]:
        """A meta.k8s.io/v1 Table, as plain JSON values."""
        ...

    def logs(
        self,
        name: str,
        namespace: str,
        *,
        container: str,
        follow: bool,
        previous: bool,
        tail: int | None,
        since_seconds: int | None,
        timestamps: bool,
    ) -> AsyncIterator[bytes]: ...

    async def exec(
        self, name: str, namespace: str, command: Sequence[str], *, container: str, tty: bool, stdin: bool
    ) -> Remote: ...

    async def version(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Session:
    server: Server
    namespace: str
    io: Streams
    all_namespaces: bool = False

    def namespace_of(self, resource: Resource) -> str:
        """Where to look for objects of this resource: "" is everywhere, and for cluster-scoped ones."""
        return self.namespace if resource.namespaced and not self.all_namespaces else ""
