"""A real etcd of the tests' own: in a directory of its own, on ports of its own."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from sampan.cluster_pki import Pki
from tests.support.ports import free_ports


class EtcdServer:
    def __init__(self, folder: Path, flags: Sequence[str] = (), pki: Pki | None = None) -> None:
        """With a pki (which has certificates for "etcd" and "etcd-client") it takes TLS clients too, on a port of their own."""
        self.folder = folder
        self.flags = list(flags)
        self.port, self._peer, self.tls_port = free_ports(3)
        self._pki = pki
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        client, peer = f"http://{self.endpoint}", f"http://127.0.0.1:{self._peer}"
        listen = client
        if self._pki is not None:
            listen += f",https://127.0.0.1:{self.tls_port}"
            self.flags += [
                f"--cert-file={self._pki.certificate('etcd')}",
                f"--key-file={self._pki.key('etcd')}",
                f"--trusted-ca-file={self._pki.certificate('ca')}",
                "--client-cert-auth",
            ]
        command = ["etcd", "--data-dir", str(self.folder / "data"), "--listen-client-urls", listen]
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

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
