"""What the end of one compose cluster takes away: all that is its own, whichever files it was begun with, and nothing of a
cluster beside it. Two tiny projects stand for the clusters.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cluster_compose import IMAGE, ComposeCluster, docker

pytestmark = [pytest.mark.e2e, pytest.mark.compose, pytest.mark.timeout(120)]

PROJECT = "sampan-end"
SERVICE = """
services:
  {name}:
    {{image: "{image}", entrypoint: [sleep, "600"], init: true, network_mode: none, volumes: ["{name}:/data"]}}
volumes:
  {name}:
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    if subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True).returncode:
        pytest.skip(f"needs the image {IMAGE}: make cluster")
    for file, name in (("docker-compose.yml", "etcd"), ("docker-compose.ha.yml", "etcd-2")):
        (tmp_path / file).write_text(SERVICE.format(name=name, image=IMAGE))
    return tmp_path


@pytest.fixture
def neighbour() -> Iterator[Path]:
    """The control group of a node of another cluster, in one hierarchy (or in the only one)."""
    groups = Path("/sys/fs/cgroup")
    hierarchy = groups / "pids" if (groups / "pids").is_dir() else groups
    node = hierarchy / f"sampan-cluster-{PROJECT}-neighbour" / "node-1"
    node.mkdir(parents=True)
    yield node
    for group in (node, node.parent):
        if group.exists():
            group.rmdir()


def clusters(root: Path) -> tuple[ComposeCluster, ComposeCluster]:
    """The same one, as who began it with all files knows it, and as `make cluster-down` does."""
    state = root / "state"
    return (
        ComposeCluster(root=root, ha=True, state=state, project=PROJECT),
        ComposeCluster(root=root, ha=False, state=state, project=PROJECT),
    )


def test_a_down_that_knows_one_file_takes_the_volumes_of_both(root: Path) -> None:
    whole, base = clusters(root)
    whole.compose("up", "--detach")
    try:
        volumes = docker("volume", "ls", "-q", "--filter", f"name={PROJECT}_").split()
        assert sorted(volumes) == [f"{PROJECT}_etcd", f"{PROJECT}_etcd-2"]
        base.down()
    finally:
        whole.compose("down", "--volumes", "--timeout", "1")
    assert base.leftovers() == []


def test_a_neighbours_control_groups_are_neither_taken_nor_counted(root: Path, neighbour: Path) -> None:
    _, base = clusters(root)
    base.down()
    assert neighbour.exists()
    assert base.leftovers() == []
