"""A real etcd of the tests' own: in a directory of its own, on ports of its own."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class EtcdServer:
    def __init__(self, folder: Path, flags: Sequence[str] = ()) -> None:
        self.folder = folder
        self.flags = list(flags)
        self.port, self._peer = free_ports(2)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        command = ["etcd", "--data-dir", str(self.folder / "data"), "--listen-client-urls", client]
        command += ["--advertise-client-urls", client, "--listen-peer-urls", peer, "--name", "one"]
        command += ["--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}", *self.flags]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline and self.process.poll() is None:
            with suppress(OSError), urllib.request.urlopen(f"http://{self.endpoint}/health", timeout=5):
                return  # it has a leader: an open port alone tells nothing
            time.sleep(0.02)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports
