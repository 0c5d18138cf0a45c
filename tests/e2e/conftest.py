"""One cluster of three nodes on this machine for all tests of a module, and real kubectls that talk to it."""

import os
import pty
import select
import subprocess
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from sampan.cluster_layout import ADMIN, Layout
from sampan.cluster_remains import node_names
from sampan.demo import leftovers
from tests.support.kubectls import kubectl_params

MANIFESTS = Path(__file__).parents[2] / "manifests" / "demo"


def sampan(layout: Layout, *words: str) -> str:
    command = [sys.executable, "-m", "sampan", *words, f"--data-dir={layout.directory}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Layout]:
    made = Layout(tmp_path_factory.mktemp("e2e") / "cluster")
    sampan(made, "up", "--nodes=3")
    try:
        yield made
    finally:
        nodes = node_names(made)
        sampan(made, "down")
    assert leftovers(made, nodes) == []


@dataclass(frozen=True)
class Kubectl:
    """One binary, one kubeconfig, one namespace."""

    path: Path
    config: Path
    namespace: str

    def command(self, *words: str) -> list[str]:
        return [str(self.path), f"--kubeconfig={self.config}", f"--namespace={self.namespace}", *words]

    def __call__(self, *words: str, stdin: str | None = None, fails: bool = False, **environment: str) -> str:
        """What it prints; with `fails` what it complains. Anything but the expected ending fails the test."""
        done = subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            env={"PATH": os.environ["PATH"], "HOME": str(self.config.parent), **environment},
        )
        said = f"kubectl {' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert bool(done.returncode) is fails, said
        return done.stderr if fails else done.stdout

    def typed(self, *words: str, lines: Sequence[tuple[str, str]]) -> tuple[str, int]:
        """Runs on a terminal: each line is typed when its cue has been shown. All that was shown, and the exit code."""
        process, terminal = pty.fork()
        if process == 0:
            os.execv(self.path, self.command(*words))
        shown, left, seen = "", list(lines), 0
        while select.select([terminal], [], [], 30)[0]:
            try:
                data = os.read(terminal, 4096)
            except OSError:  # how Linux tells that the other side has closed
                break
            if not data:
                break
            shown += data.decode(errors="replace")
            if left and left[0][0] in shown[seen:]:
                seen = len(shown)
                os.write(terminal, left.pop(0)[1].encode() + b"\n")
        _, status = os.waitpid(process, 0)
        os.close(terminal)
        return shown, os.waitstatus_to_exitcode(status)


@pytest.fixture(scope="module", params=kubectl_params())
def kubectl_path(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


@pytest.fixture
def kubectl(layout: Layout, kubectl_path: Path, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """In a namespace of the test's own, which goes with it."""
    name = f"t{zlib.crc32(request.node.name.encode())}"
    made = Kubectl(kubectl_path, layout.kubeconfig(ADMIN), name)
    made("create", "namespace", name)
    yield made
    made("delete", "namespace", name, "--wait=false")
