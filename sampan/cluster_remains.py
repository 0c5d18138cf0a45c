"""What a cluster has outside of its directory, and leaves behind when it is killed: containers, mounts, the nodes' network."""

import asyncio
from pathlib import Path

from node_agent.network.kernel import NetlinkKernel
from node_agent.network.pod_network import BRIDGE, NodePodNetwork
from sampan import cluster_machine
from sampan.cluster_containers import remove_containers
from sampan.cluster_layout import CLUSTER_CIDR, Layout, Standalone


def clear(layout: Layout) -> None:
    """All of it; the directory stays. Blocking. Raises ContainersError, MachineError."""
    settings = layout.settings()
    standalone = settings.standalone if settings is not None else None
    if settings is not None and settings.hollow:
        return
    remove_containers(node_names(layout), standalone.docker if standalone is not None else "")
    for point in cluster_machine.mounts_below(layout.directory):
        cluster_machine.run("umount", point)
    if standalone is None:
        cluster_machine.remove()
    else:
        _remove_pod_network(standalone)


def clear_another(directory: str) -> str:
    """What the killed cluster of another directory left, be the directory there or not. What was done, if anything."""
    layout = Layout(Path(directory))
    settings = layout.settings()
    nodes = cluster_machine.nodes()
    if settings is not None and settings.standalone is not None:
        clear(layout)
        nodes = {settings.standalone.node}
    elif nodes:
        remove_containers(nodes)
        cluster_machine.remove()
    return f"cleared away {len(nodes)} nodes that the cluster of {directory} left behind" if nodes else ""


def node_names(layout: Layout) -> set[str]:
    """Of this cluster, also of an earlier `up` with more nodes."""
    settings = layout.settings()
    known = set(settings.node_names) if settings else set()
    return known | {path.name for path in (layout.directory / "nodes").glob("*")}


def _remove_pod_network(standalone: Standalone) -> None:
    """The nodes of `sampan up` have namespaces, with which their network goes; this one's is the machine's own."""
    if standalone.plain_network:
        return
    network = NodePodNetwork(kernel=NetlinkKernel(), dns=None, node_address="", pod_cidr=CLUSTER_CIDR)
    asyncio.run(network.teardown())
    cluster_machine.stop_forwarding(BRIDGE)
