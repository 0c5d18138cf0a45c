"""What a verb gets that needs no server: the streams, the environment, and which kubeconfig was named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubectl_lite.streams import Streams

DEFAULT = "~/.kube/config"


@dataclass(frozen=True, slots=True)
class Local:
    io: Streams
    environ: dict[str, str]
    kubeconfig: str = ""
    context: str = ""

    def config_file(self) -> Path:
        """The one that is read and changed: --kubeconfig, else the first of $KUBECONFIG that exists, else the default."""
        if self.kubeconfig:
            return Path(self.kubeconfig).expanduser()
        candidates = [Path(p).expanduser() for p in self.environ.get("KUBECONFIG", "").split(":") if p]
        candidates = candidates or [Path(DEFAULT).expanduser()]
        return next((c for c in candidates if c.is_file()), candidates[0])
