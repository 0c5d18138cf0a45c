"""Usage from control groups of both versions, and when a node is under pressure."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubeapi.types.core_v1 import NodeStatus
from node_agent.node_object import Machine, NodeIdentity, node_status
from node_agent.vitals import Usage, Vitals, container_usage, node_usage, vitals

WELL = Vitals(memory_available=1 << 30, disk_free=0.5, inodes_free=0.5, pids_free=0.5)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def test_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "4:memory:/docker/c1\n2:cpu,cpuacct:/docker/c1\n0::/docker/c1\n",
            "cg/cpuacct/docker/c1/cpuacct.usage": "2500000000\n",
            "cg/memory/docker/c1/memory.usage_in_bytes": "5000\n",
            "cg/memory/docker/c1/memory.stat": "inactive_file 1\ntotal_inactive_file 2000\n",
        },
    )
    assert container_usage(7, proc=tmp_path / "proc", cgroups=tmp_path / "cg") == Usage(2.5, 3000)


def test_version_2(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "0::/system.slice/docker-c1.scope\n",
            "cg/system.slice/docker-c1.scope/cpu.stat": "usage_usec 1500000\nuser_usec 1\n",
            "cg/system.slice/docker-c1.scope/memory.current": "5000\n",
            "cg/system.slice/docker-c1.scope/memory.stat": "anon 1\ninactive_file 1000\n",
        },
    )
    assert container_usage(7, proc=tmp_path / "proc", cgroups=tmp_path / "cg") == Usage(1.5, 4000)


def test_a_container_that_is_gone_has_no_usage(tmp_path: Path) -> None:
    assert container_usage(7, proc=tmp_path, cgroups=tmp_path) is None


def test_the_machine_itself() -> None:
    used, left = node_usage(), vitals(Path("/nowhere/at/all"))
    assert used.cpu_seconds > 0 and used.memory_bytes > 0
    assert 0 <= left.disk_free <= 1 and 0 < left.pids_free < 1 and left.memory_available > 0


def status(found: Vitals | None, *, networked: bool = True) -> NodeStatus:
    return node_status(
        NodeIdentity(name="n1", ip="192.0.2.1", port=0), Machine(cpus=1, memory=1 << 30, disk=1 << 30),
        runtime_version="docker://1", old=None, images=[], unready="", now=datetime(2026, 1, 1, tzinfo=UTC),
        vitals=found, networked=networked,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "pressed"),
    [
        (None, set()),
        (WELL, set()),
        (Vitals(50 << 20, 0.5, 0.5, 0.5), {"MemoryPressure"}),
        (Vitals(1 << 30, 0.01, 0.5, 0.5), {"DiskPressure"}),
        (Vitals(1 << 30, 0.5, 0.01, 0.5), {"DiskPressure"}),
        (Vitals(1 << 30, 0.5, 0.5, 0.01), {"PIDPressure"}),
    ],
)
def test_pressure(found: Vitals | None, pressed: set[str]) -> None:
    conditions = {c.type: c.status for c in status(found).conditions}
    assert {name for name, value in conditions.items() if value == "True"} == {"Ready", *pressed}
    assert conditions["NetworkUnavailable"] == "False"


def test_the_network_is_told_to_be_there_once_it_is() -> None:
    assert "NetworkUnavailable" not in {c.type for c in status(WELL, networked=False).conditions}
