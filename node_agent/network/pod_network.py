"""A node's pod network: `PodNetwork` upon a `Kernel`.

Flow: setup() makes the bridge (its address is the pods' gateway), the VXLAN device and the fixed nftables
rules, and reads back from the links who is attached. attach() makes a veth pair whose host end carries, as
its alias, whose it is and which address it has: the links are the only memory, so a restarted agent knows its
pods without a file. set_*() compare the wish with what is installed and change the difference.

A pod's address is a /32 and all it sends goes to the gateway, also to pods on the same bridge. So every packet
passes the node's routing and connection tracking, and answers of services find their way back, whether or not
this kernel shows bridged frames to netfilter (bridge-nf-call-iptables).

Everything blocking runs in one worker thread at a time, under one lock: kernel state has one writer.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from node_agent.network import plan, services
from node_agent.network.dns import DnsServer, upstreams
from node_agent.network.errors import NetworkError
from node_agent.network.interface import Attachment, Peer, ServicePort
from node_agent.network.kernel import Kernel, NetlinkKernel

BRIDGE = "sampan-br"
TUNNEL = "sampan-vx"
_BEHIND_A_STUB = (Path("/run/systemd/resolve/resolv.conf"),)
"""Where the real name servers are written when resolv.conf names only a stub on loopback."""
_LOG = logging.getLogger(__name__)


class NodePodNetwork:
    """Implements `PodNetwork`."""

    def __init__(
        self,
        *,
        kernel: Kernel,
        dns: DnsServer | None,
        node_address: str,
        pod_cidr: str,
        cluster_cidr: str = "10.244.0.0/16",
        dns_address: str = "10.96.0.10",
        mtu: int = 1450,
        vni: int = 1,
        vxlan_port: int = 8472,
        log: logging.Logger = _LOG,
    ) -> None:
        self._kernel, self._dns, self._log = kernel, dns, log
        self._node_address, self._pod_cidr, self._cluster_cidr = node_address, pod_cidr, cluster_cidr
        self._dns_address, self._mtu, self._vni, self._vxlan_port = dns_address, mtu, vni, vxlan_port
        self._gateway = plan.gateway(pod_cidr)
        self._mac = plan.device_mac(f"vxlan {node_address} {pod_cidr}")
        self._lock = asyncio.Lock()
        self._links: dict[str, plan.PodLink] = {}
        """By pod UID; an entry outlives its link if the pod's namespace died, until detach: the address stays
        its.
        """
        self._last = ""
        self._ports: Sequence[ServicePort] = ()
        self._installed: services.Rules | None = None
        """What nftables holds as far as we know; None: unknown, the next change replaces the whole table."""
        self._backends: services.Backends = {}
        """Who answers for UDP, as far as connection tracking has been told."""
        self._serving = False

    async def setup(self) -> str:
        async with self._lock:
            await asyncio.to_thread(self._set_up)
            if self._dns is not None and not self._serving:
                await self._dns.start([self._dns_address, self._gateway])
                self._serving = True
        return self._mac

    def _set_up(self) -> None:
        kernel = self._kernel
        kernel.set_sysctl("net/ipv4/ip_forward", "1")
        kernel.ensure_bridge(BRIDGE, mac=plan.device_mac(f"bridge {self._pod_cidr}"), mtu=self._mtu)
        ours = ipaddress.ip_network(self._pod_cidr)
        kernel.ensure_addresses(BRIDGE, [f"{self._gateway}/{ours.prefixlen}", f"{self._dns_address}/32"])
        kernel.ensure_vxlan(
            TUNNEL,
            vni=self._vni,
            port=self._vxlan_port,
            local=self._node_address,
            mac=self._mac,
            mtu=self._mtu,
        )
        kernel.ensure_addresses(TUNNEL, [f"{ours.network_address}/32"])
        # Answers may come back by another device than the question left by; never tell pods to bypass
        # the gateway.
        for name in ("all", BRIDGE, TUNNEL):
            kernel.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", "0")
            kernel.set_sysctl(f"net/ipv4/conf/{name}/send_redirects", "0")
        for link in kernel.links():
            pod = plan.read_alias(link.alias)
            # An address of another range is from before this node was given its own: attach() gives a new one.
            if pod is not None and ipaddress.ip_address(pod.ip) in ours:
                self._links.setdefault(pod.pod_uid, pod)
        if self._installed is None:
            self._program()

    async def attach(self, pod_uid: str, pid: int, *, host_ports: Sequence[tuple[str, int, int]] = ()) -> str:
        async with self._lock:
            return await asyncio.to_thread(self._attach, pod_uid, pid, tuple(host_ports))

    def _attach(self, pod_uid: str, pid: int, host_ports: tuple[tuple[str, int, int], ...]) -> str:
        known = self._links.get(pod_uid)
        if known is None:
            self._refuse_taken(pod_uid, host_ports)
            address = plan.next_address(self._pod_cidr, {link.ip for link in self._links.values()}, self._last)
            self._last = address
        else:
            address = known.ip
        link = plan.PodLink(pod_uid, address, host_ports)
        name = plan.link_name(pod_uid)
        held = self._kernel.has_link(name)
        if not held or self._kernel.pod_address(pid) != address:
            if held:
                self._kernel.delete_link(name)
            self._kernel.add_pod_link(name, pid=pid, mtu=self._mtu, master=BRIDGE, alias=plan.write_alias(link))
            try:
                self._kernel.configure_pod(pid, address=address, mac=plan.pod_mac(address), gateway=self._gateway)
            except NetworkError:
                self._kernel.delete_link(name)
                raise
        elif known != link:
            self._kernel.set_alias(name, plan.write_alias(link))
        self._links[pod_uid] = link
        if host_ports or (known and known.host_ports):
            self._program()
        return address

    def _refuse_taken(self, pod_uid: str, host_ports: Sequence[tuple[str, int, int]]) -> None:
        for link in self._links.values():
            taken = {(protocol.lower(), host) for protocol, host, _ in link.host_ports}
            for protocol, host, _ in host_ports:
                if link.pod_uid != pod_uid and (protocol.lower(), host) in taken:
                    raise NetworkError(f"host port {host}/{protocol} is held by pod {link.pod_uid}")

    async def detach(self, pod_uid: str) -> None:
        async with self._lock:
            await asyncio.to_thread(self._detach, pod_uid)

    def _detach(self, pod_uid: str) -> None:
        self._kernel.delete_link(plan.link_name(pod_uid))
        link = self._links.pop(pod_uid, None)
        if link is not None and link.host_ports:
            self._program()

    async def attachments(self) -> Sequence[Attachment]:
        async with self._lock:
            links = await asyncio.to_thread(self._kernel.links)
        found = [pod for link in links if (pod := plan.read_alias(link.alias)) is not None]
        return [Attachment(pod.pod_uid, pod.ip) for pod in found]

    async def set_peers(self, peers: Sequence[Peer]) -> None:
        others = [peer for peer in peers if peer.address != self._node_address]
        async with self._lock:
            await asyncio.to_thread(self._set_peers, plan.tunnels(others, TUNNEL))

    def _set_peers(self, wanted: plan.Tunnels) -> None:
        """Compares with the kernel, not with memory. Removes route before forwarding and neighbour; adds the
        other way round: a route never leads into a tunnel whose far end is unknown."""
        kernel = self._kernel
        for route in kernel.routes(TUNNEL):
            if route not in wanted.routes:
                kernel.delete_route(route)
        for mac, outer in kernel.forwardings(TUNNEL).items():
            if wanted.forwardings.get(mac) != outer:
                kernel.delete_forwarding(TUNNEL, mac, outer)
        neighbours = kernel.neighbours(TUNNEL)
        for ip in neighbours:
            if ip not in wanted.neighbours:
                kernel.delete_neighbour(TUNNEL, ip)
        for ip, mac in wanted.neighbours.items():
            if neighbours.get(ip) != mac:
                kernel.ensure_neighbour(TUNNEL, ip, mac)
        forwardings = kernel.forwardings(TUNNEL)
        for mac, outer in wanted.forwardings.items():
            if forwardings.get(mac) != outer:
                kernel.ensure_forwarding(TUNNEL, mac, outer)
        routes = kernel.routes(TUNNEL)
        for route in wanted.routes:
            if route not in routes:
                kernel.ensure_route(route)

    async def set_services(self, ports: Sequence[ServicePort]) -> None:
        async with self._lock:
            self._ports = tuple(ports)
            await asyncio.to_thread(self._program)

    def _program(self) -> None:
        host_ports = {
            (protocol.lower(), host): (link.ip, container)
            for link in self._links.values()
            for protocol, host, container in link.host_ports
        }
        wanted = services.desired(self._ports, host_ports, cluster_cidr=self._cluster_cidr)
        if self._installed is None:
            base = services.base(cluster_cidr=self._cluster_cidr, bridge=BRIDGE, tunnel=TUNNEL)
            change = base + services.script(wanted, services.Rules())
        else:
            change = services.script(wanted, self._installed)
        if change:
            try:
                self._kernel.nft(change)
            except NetworkError:
                self._installed = None  # Someone else touched our table: start from a known state next time.
                raise
            self._installed = wanted
        self._forget_flows(services.udp_backends(self._ports, host_ports))

    def _forget_flows(self, backends: services.Backends) -> None:
        """After the rules have changed: what is forgotten earlier would be tracked the old way again."""
        if backends == self._backends:
            return
        local = {self._node_address, self._gateway}
        for flow in services.stale(self._kernel.udp_flows(), backends, self._backends, local=local):
            self._kernel.delete_flow(flow)
        self._backends = backends

    async def set_dns(self, records: Mapping[str, Sequence[str]]) -> None:
        if self._dns is not None:
            self._dns.set_records(records)

    async def verify(self) -> bool:
        async with self._lock:
            return await asyncio.to_thread(self._verify)

    def _verify(self) -> bool:
        """Tunnels and routes are compared with the kernel whenever they are set; rules are so many that only their
        being there at all is looked at: what removes them (a firewall's restart) removes all.
        """
        if not self._kernel.has_chain(services.TABLE, "refuse"):
            self._installed = None
        links = {link.name for link in self._kernel.links()}
        return self._installed is not None and {BRIDGE, TUNNEL} <= links

    async def teardown(self) -> None:
        async with self._lock:
            if self._dns is not None:
                await self._dns.close()
                self._serving = False
            await asyncio.to_thread(self._tear_down)

    def _tear_down(self) -> None:
        for link in self._kernel.links():
            if plan.read_alias(link.alias) is not None or link.name in (BRIDGE, TUNNEL):
                self._kernel.delete_link(link.name)
        self._kernel.nft(f"add table {services.TABLE}\ndelete table {services.TABLE}\n")
        self._links, self._installed, self._ports, self._backends = {}, None, (), {}

    async def close(self) -> None:
        """Ends what this process serves; pods keep their network."""
        if self._dns is not None:
            await self._dns.close()
            self._serving = False


def linux_pod_network(
    *,
    node_address: str,
    pod_cidr: str,
    cluster_cidr: str,
    dns_address: str,
    domain: str,
    random: Random,
    resolv_conf: Path = Path("/etc/resolv.conf"),
    kernel: Callable[[], Kernel] = NetlinkKernel,
) -> NodePodNetwork:
    """For the network namespace this process runs in."""
    ours = [dns_address, plan.gateway(pod_cidr)]
    servers: list[str] = []
    for path in (resolv_conf, *_BEHIND_A_STUB):
        servers = servers or upstreams(path.read_text() if path.exists() else "", ours=ours)
    return NodePodNetwork(
        kernel=kernel(),
        dns=DnsServer(domain=domain, upstreams=servers, random=random),
        node_address=node_address,
        pod_cidr=pod_cidr,
        cluster_cidr=cluster_cidr,
        dns_address=dns_address,
    )
