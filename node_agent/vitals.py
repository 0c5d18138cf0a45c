"""What the machine and its containers use, read from /proc and the control groups: microseconds, and no engine asked.

Everything blocks shortly. Control groups of version 1 (one hierarchy per controller) and 2 (one for all) are read; on
a machine with both, the one that has the controller.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Usage:
    cpu_seconds: float
    """Since it started: the difference of two readings is what was used between them."""
    memory_bytes: int
    """Working set: in use, less the file cache that the kernel may drop at once."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What is left, for the node's conditions."""

    memory_available: int
    disk_free: float
    """Fraction of the file system that holds the pods."""
    inodes_free: float
    pids_free: float


def container_usage(pid: int, *, proc: Path = PROC, cgroups: Path = CGROUPS) -> Usage | None:
    """Of the container whose first process is `pid`; None when it is gone, or its control groups cannot be seen."""
    try:
        groups = control_groups((proc / str(pid) / "cgroup").read_text())
        if "memory" in groups and "cpuacct" in groups:
            cpu = cgroups / "cpuacct" / groups["cpuacct"]
            memory = cgroups / "memory" / groups["memory"]
            used = int((memory / "memory.usage_in_bytes").read_text())
            idle = _table((memory / "memory.stat").read_text()).get("total_inactive_file", 0)
            return Usage(int((cpu / "cpuacct.usage").read_text()) / 1e9, max(0, used - idle))
        if "" not in groups:
            return None
        group = cgroups / groups[""]
        used = int((group / "memory.current").read_text())
        idle = _table((group / "memory.stat").read_text()).get("inactive_file", 0)
        micros = _table((group / "cpu.stat").read_text())["usage_usec"]
        return Usage(micros / 1e6, max(0, used - idle))
    except (OSError, ValueError, KeyError):
        return None


def control_groups(text: str) -> dict[str, str]:
    """/proc/PID/cgroup as controller to path; "" is the unified hierarchy of version 2."""
    found = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name.removeprefix("name=")] = path.lstrip("/")
    return found


def node_usage(*, proc: Path = PROC) -> Usage:
    """The whole machine."""
    ticks = [int(word) for word in (proc / "stat").read_text().splitlines()[0].split()[1:9]]
    idle = ticks[3] + ticks[4]
    memory = _memory(proc)
    return Usage((sum(ticks) - idle) / os.sysconf("SC_CLK_TCK"), memory["MemTotal"] - memory["MemAvailable"])


def vitals(disk: Path, *, proc: Path = PROC) -> Vitals:
    """`disk`: a path on the file system whose fill counts; the nearest parent that exists."""
    while not disk.exists():
        disk = disk.parent
    found = os.statvfs(disk)
    running = int((proc / "loadavg").read_text().split()[3].partition("/")[2])
    most = int((proc / "sys/kernel/pid_max").read_text())
    return Vitals(
        memory_available=_memory(proc)["MemAvailable"],
        disk_free=found.f_bavail / found.f_blocks if found.f_blocks else 1.0,
        inodes_free=found.f_favail / found.f_files if found.f_files else 1.0,
        pids_free=max(0.0, 1 - running / most),
    )


def _memory(proc: Path) -> Mapping[str, int]:
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}


def _table(text: str) -> dict[str, int]:
    return {name: int(value) for name, _, value in (line.partition(" ") for line in text.splitlines())}
