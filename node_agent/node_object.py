"""The Node object: what the machine has, and how it is. Pure, but for machine(), which reads the machine."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from kubeapi.types.core_v1 import (
    ContainerImage,
    DaemonEndpoint,
    Node,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
    Taint,
)
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.runtimes.interface import ImageInfo
from node_agent.vitals import Vitals

VTEP_MAC = "sampan.dev/vtep-mac"
VERSION = "v1.33.0-sampan"
MOST_IMAGES = 50
LEAST_MEMORY = 100 << 20
"""Bytes available, below which the node is under pressure and gets no more pods: kubelet's eviction threshold."""
LEAST_DISK, LEAST_INODES = 0.05, 0.05
"""Fractions. Kubelet says 0.1 of the disk; but a node here is often somebody's workstation."""
LEAST_PIDS = 0.05


@dataclass(frozen=True, slots=True)
class Machine:
    cpus: float
    memory: int
    """Bytes."""
    disk: int
    """Bytes."""
    pods: int = 110
    kernel: str = ""
    os_image: str = ""
    machine_id: str = ""
    boot_id: str = ""
    architecture: str = "amd64"
    reserved_memory: int = 0
    """Bytes kept from pods: capacity less allocatable."""


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    name: str
    ip: str
    port: int
    """Of the agent's gRPC server; 0: it has none."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    pod_cidr: str = ""


def machine(*, pods: int = 110) -> Machine:
    """This machine. Blocking, but only on /proc and /etc."""
    disk = os.statvfs("/")
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return Machine(
        cpus=float(os.cpu_count() or 1),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=disk.f_frsize * disk.f_blocks,
        pods=pods,
        kernel=platform.release(),
        os_image=_os_name(),
        machine_id=_read("/etc/machine-id"),
        boot_id=_read("/proc/sys/kernel/random/boot_id"),
        architecture=architecture,
    )


def allocatable(machine: Machine) -> dict[str, float]:
    return {
        "cpu": machine.cpus,
        "memory": float(machine.memory - machine.reserved_memory),
        "ephemeral-storage": float(machine.disk),
        "pods": float(machine.pods),
    }


def new_node(who: NodeIdentity, machine: Machine, *, mac: str, status: NodeStatus) -> Node:
    return Node(
        metadata=ObjectMeta(name=who.name, labels=our_labels(who, machine), annotations={VTEP_MAC: mac} if mac else {}),
        spec=NodeSpec(pod_cidr=who.pod_cidr, pod_cidrs=[who.pod_cidr] if who.pod_cidr else [], taints=list(who.taints)),
        status=status,
    )


def adopted(node: Node, who: NodeIdentity, machine: Machine, *, mac: str) -> Node:
    """An existing Node of our name, with our labels and annotations; what others have set stays."""
    annotations = {**node.metadata.annotations, **({VTEP_MAC: mac} if mac else {})}
    labels = {**node.metadata.labels, **our_labels(who, machine)}
    return replace(node, metadata=replace(node.metadata, labels=labels, annotations=annotations))


def our_labels(who: NodeIdentity, machine: Machine) -> dict[str, str]:
    found = {
        "kubernetes.io/hostname": who.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
    }
    return {**found, **who.labels}


def node_status(
    who: NodeIdentity,
    machine: Machine,
    *,
    runtime_version: str,
    old: NodeStatus | None,
    images: Sequence[ImageInfo],
    unready: str,
    now: datetime,
    vitals: Vitals | None = None,
    networked: bool = True,
) -> NodeStatus:
    """`unready`: why the node cannot run pods; empty when it can. `vitals`: None for a node without a machine."""
    capacity = _resources(machine, machine.memory)
    before = {c.type: c for c in old.conditions} if old else {}
    said = [
        *_pressures(vitals),
        _condition("Ready", "False", "KubeletNotReady", unready)
        if unready
        else _condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    if networked:
        said.insert(0, _condition("NetworkUnavailable", "False", "PodNetworkIsUp", "the pod network is set up"))
    conditions = []
    for condition in said:
        was = before.pop(condition.type, None)
        same = was is not None and was.status == condition.status and was.last_transition_time is not None
        since = was.last_transition_time if was is not None and same else now
        conditions.append(replace(condition, last_heartbeat_time=now, last_transition_time=since))
    return NodeStatus(
        capacity=capacity,
        allocatable=_resources(machine, machine.memory - machine.reserved_memory),
        conditions=[*conditions, *before.values()],
        addresses=[
            NodeAddress(type="InternalIP", address=who.ip),
            NodeAddress(type="Hostname", address=who.name),
        ],
        daemon_endpoints=NodeDaemonEndpoints(kubelet_endpoint=DaemonEndpoint(port=who.port)),
        node_info=NodeSystemInfo(
            machine_id=machine.machine_id,
            boot_id=machine.boot_id,
            kernel_version=machine.kernel,
            os_image=machine.os_image,
            container_runtime_version=runtime_version,
            kubelet_version=VERSION,
            kube_proxy_version=VERSION,
            operating_system="linux",
            architecture=machine.architecture,
        ),
        images=[
            ContainerImage(names=list(image.names), size_bytes=image.size)
            for image in sorted(images, key=lambda i: -i.size)[:MOST_IMAGES]
            if image.names
        ],
        volumes_attached=old.volumes_attached if old else [],
        volumes_in_use=old.volumes_in_use if old else [],
    )


def _pressures(vitals: Vitals | None) -> list[NodeCondition]:
    """Under kubelet's reasons, which tools know."""
    memory = vitals is not None and vitals.memory_available < LEAST_MEMORY
    disk = vitals is not None and (vitals.disk_free < LEAST_DISK or vitals.inodes_free < LEAST_INODES)
    pids = vitals is not None and vitals.pids_free < LEAST_PIDS
    return [
        _condition(
            "MemoryPressure", "True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
        )
        if memory
        else _condition(
            "MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"
        ),
        _condition("DiskPressure", "True", "KubeletHasDiskPressure", "kubelet has disk pressure")
        if disk
        else _condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        _condition("PIDPressure", "True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
        if pids
        else _condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ]


def same_but_for_heartbeat(one: NodeStatus, other: NodeStatus) -> bool:
    def still(status: NodeStatus) -> NodeStatus:
        return replace(status, conditions=[replace(c, last_heartbeat_time=None) for c in status.conditions])

    return still(one) == still(other)


def _condition(kind: str, status: str, reason: str, message: str) -> NodeCondition:
    return NodeCondition(type=kind, status=status, reason=reason, message=message)


def _resources(machine: Machine, memory: int) -> dict[str, str | int | float]:
    cpus = f"{machine.cpus:g}" if machine.cpus == int(machine.cpus) else f"{round(machine.cpus * 1000)}m"
    return {
        "cpu": cpus,
        "memory": f"{memory // 1024}Ki",
        "ephemeral-storage": f"{machine.disk // 1024}Ki",
        "pods": str(machine.pods),
    }


def _os_name() -> str:
    for line in _read("/etc/os-release").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return "Linux"


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
