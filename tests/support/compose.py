"""Compose clusters of the tests' own: each in a project and on a subnet that no other test has, on ports that are free."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sampan.cluster import ROOT
from sampan.cluster_compose import ComposeCluster
from tests.support.ports import free_ports

PREFIX = "sampan-test"
"""Not $SAMPAN_PROJECT: a cluster that somebody keeps is never touched."""


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    subnet: int
    """Third number of 172.31.x.0/24; `make cluster` has 77."""

    @property
    def project(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def settings(self) -> dict[str, str]:
        names = ("SAMPAN_PORT", "SAMPAN_GRPC_PORT", "SAMPAN_PORT_2", "SAMPAN_GRPC_PORT_2", "SAMPAN_PROMETHEUS_PORT")
        ports = {name: str(port) for name, port in zip(names, free_ports(len(names)), strict=True)}
        return {"SAMPAN_SUBNET": f"172.31.{self.subnet}", **ports}


@contextmanager
def running(place: Place, state: Path, **about: Any) -> Iterator[ComposeCluster]:
    """Up, until the end of the block; what a run left that was killed is taken away before."""
    settings = {**place.settings, **about.pop("settings", {})}
    made = ComposeCluster(root=ROOT, state=state, project=place.project, settings=settings, **about)
    made.down()
    try:
        print(made.up())
        yield made
    finally:
        made.down()


def build_image() -> None:
    """As `make cluster` does; with nothing new it takes a second."""
    done = subprocess.run(
        [ROOT / "images" / "build"], capture_output=True, text=True, env={**os.environ, "PYTHON": sys.executable}
    )
    assert done.returncode == 0, done.stdout + done.stderr
