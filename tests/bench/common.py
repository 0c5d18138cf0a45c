"""What the measurements share: one JSON line per figure, an API server with a store of its own, and what processes use.

Every figure stands beside its yardstick of the same run, because machines differ: `ratio` is what may be compared. Times
are medians of repeated runs. Nothing here fails because a machine is slow.
"""

from __future__ import annotations

import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sampan.cluster_pki import Identity, Pki
from tests.support.etcd_server import EtcdServer
from tests.support.ports import free_ports

ADMIN = Identity("admin", "admin", ("system:masters",))
R = TypeVar("R", bound="Rig")
PAGE, TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


def say(bench: str, case: str, value: float, unit: str, *, baseline: float | None = None, **about: Any) -> None:
    """`baseline` is the yardstick's value in the same unit."""
    line: dict[str, Any] = {"bench": bench, "case": case, "value": _short(value), "unit": unit}
    if baseline:
        line |= {"baseline": _short(baseline), "ratio": _short(value / baseline)}
    print(json.dumps(line | {k: _short(v) if isinstance(v, float) else v for k, v in about.items()}), flush=True)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_mib(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[21]) * PAGE / 2**20


@dataclass
class Rig:
    """A folder, certificates, and the processes started here; all ends with the block that made it."""

    folder: Path
    port: int
    grpc_port: int
    etcd: EtcdServer | None = None
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    def kubeconfig(self, identity: Identity) -> Path:
        path = self.folder / f"{identity.file}.kubeconfig"
        if not path.exists():
            pki = Pki(self.pki, now=datetime.now(UTC))
            pki.client(identity, addresses=["127.0.0.1"] if identity.file.startswith("node") else [])
            server, grpc = f"https://127.0.0.1:{self.port}", f"127.0.0.1:{self.grpc_port}"
            path.write_bytes(pki.kubeconfig(identity, server=server, grpc=grpc))
        return path

    def tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        context.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        return context

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        return self.launch(name, sys.executable, "-m", "sampan", *words)

    def launch(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        self.processes[name] = process
        return process

    def start_etcd(self) -> str:
        """With fsync. Its address."""
        # One member need not wait half a second for others before it elects itself.
        alone = ["--heartbeat-interval", "10", "--election-timeout", "100"]
        self.etcd = EtcdServer(self.folder, ["--quota-backend-bytes", str(4 << 30), *alone])
        self.etcd.start()
        assert self.etcd.process is not None
        self.processes["etcd"] = self.etcd.process
        return self.etcd.endpoint

    def start_api(self, store: str, command: str = "apiserver") -> subprocess.Popen[bytes]:
        """`store`: etcd, with fsync, or sqlite. `command`: apiserver, or controlplane with the loops in it."""
        url = f"etcd://{self.start_etcd()}" if store == "etcd" else f"sqlite:{self.folder}/store.db"
        words = [f"--store={url}", f"--port={self.port}", f"--grpc-port={self.grpc_port}", f"--pki={self.pki}"]
        return self.start(command, command, *words)

    def wait_ready(self, seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.get("/readyz") == b"ok":
                    return
            except OSError:
                time.sleep(0.005)
        raise RuntimeError(next(self.folder.glob("*.log")).read_text()[-2000:])

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"https://127.0.0.1:{self.port}{path}", context=self.tls(), timeout=10) as reply:
            return bytes(reply.read())

    def stop(self) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


@contextmanager
def rig(kind: Callable[[Path, int, int], R] = Rig) -> Iterator[R]:  # type: ignore[assignment]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sampan-bench-")))
        pki = Pki(folder / "pki", now=datetime.now(UTC))
        pki.authority()
        pki.server("apiserver", addresses=["127.0.0.1"], names=["localhost"])
        pki.token_key()
        pki.client(ADMIN)
        port, grpc_port = free_ports(2)
        made = kind(folder, port, grpc_port)
        stack.callback(made.stop)
        yield made
