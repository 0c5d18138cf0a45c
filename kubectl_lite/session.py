"""What every verb gets: the server, the names of its resources, the namespace to work in, the streams, the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from kubeapi.clock import Clock
from kubeapi.scheme import Resource
from kubectl_lite.names import Names
from kubectl_lite.server import Server
from kubectl_lite.streams import Streams


@dataclass(frozen=True, slots=True)
class Session:
    server: Server
    names: Names
    namespace: str
    """Of --namespace, else the context's."""
    io: Streams
    clock: Clock
    all_namespaces: bool = False
    explicit_namespace: bool = False
    """--namespace was given: manifests must not name another."""
    environ: dict[str, str] = field(default_factory=dict)
    here: Path = Path()
    """What relative file names are relative to."""
    address: str = ""
    """Of the server, for messages."""

    raw: Callable[[str], bytes] | None = None
    """A GET of this path over HTTP; blocking. None where there is no HTTP door."""

    def namespace_of(self, resource: Resource) -> str:
        """Where to look for objects of this resource: "" is everywhere, and for cluster-scoped ones."""
        return self.namespace if resource.namespaced and not self.all_namespaces else ""

    def now(self) -> datetime:
        return self.clock.now()
