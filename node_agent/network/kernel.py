"""The part of Linux that a node's network needs, as a small protocol bound to one network namespace.

Every method blocks and is idempotent: `ensure_*` makes what is missing and corrects what differs, `delete_*`
is content when there is nothing. Callers run whole plans in one worker thread. `NetlinkKernel` talks to
Linux, `FakeKernel` (fake_kernel.py) keeps the same state in memory and prints it as text.
"""

import array
import ctypes
import fcntl
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from node_agent.network.errors import NetworkError
from node_agent.network.rtnetlink import ONLINK, PERMANENT, Refused, vxlan_data
from node_agent.network.rtnetlink import Route as Netlink

ROUTE_PROTOCOL = 83
"""Tag of our routes: only routes with this protocol number are ever removed."""

_ENOENT, _ENODEV, _ESRCH = 2, 19, 3
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x00000017
_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Link:
    name: str
    mac: str = ""
    mtu: int = 1500
    up: bool = False
    alias: str = ""
    """Free text kept by the kernel with the device: how attachments survive the agent."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    destination: str
    via: str = ""
    device: str = ""
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Flow:
    """One UDP conversation as connection tracking knows it: who asked whom, and who answers instead."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    answers_from: str
    answers_port: int


class Kernel(Protocol):
    def links(self) -> Sequence[Link]: ...
    def has_link(self, name: str) -> bool: ...
    def ensure_bridge(self, name: str, *, mac: str, mtu: int) -> None: ...
    def ensure_vxlan(self, name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> None: ...
    def add_pod_link(self, name: str, *, pid: int, mtu: int, master: str, alias: str) -> None:
        """A veth pair: `name` here on the bridge `master`, `eth0` in the namespace of process `pid`."""
        ...

    def configure_pod(self, pid: int, *, address: str, mac: str, gateway: str) -> None:
        """Inside the pod's namespace: lo and eth0 up, address/32, the gateway on the link, default through
        it.
        """
        ...

    def pod_address(self, pid: int) -> str | None:
        """The IPv4 address of eth0 in the namespace of process `pid`."""
        ...

    def delete_link(self, name: str) -> None: ...
    def set_alias(self, name: str, alias: str) -> None: ...
    def ensure_addresses(self, device: str, addresses: Collection[str]) -> None:
        """The device's IPv4 addresses are these, and no others: one left over makes a peer's range look local."""
        ...

    def neighbours(self, device: str) -> dict[str, str]:
        """Static ones: IP to MAC."""
        ...

    def ensure_neighbour(self, device: str, ip: str, mac: str) -> None: ...
    def delete_neighbour(self, device: str, ip: str) -> None: ...
    def forwardings(self, device: str) -> dict[str, str]:
        """A VXLAN device's forwarding entries: MAC to outer address."""
        ...

    def ensure_forwarding(self, device: str, mac: str, outer: str) -> None: ...
    def delete_forwarding(self, device: str, mac: str, outer: str) -> None: ...
    def routes(self, device: str) -> Sequence[Route]:
        """Ours (by protocol number) that leave through `device`."""
        ...

    def ensure_route(self, route: Route) -> None: ...
    def delete_route(self, route: Route) -> None: ...
    def set_sysctl(self, name: str, value: str) -> None: ...
    def nft(self, script: str) -> None:
        """Applies an nft script as one transaction."""
        ...

    def has_chain(self, table: str, chain: str) -> bool: ...
    def udp_flows(self) -> Sequence[Flow]: ...
    def delete_flow(self, flow: Flow) -> None:
        """The next packet is looked at anew."""
        ...


def _ignore(error: Refused, *codes: int) -> None:
    if error.code not in codes:
        raise error


def _inside(method: Callable[Concatenate["NetlinkKernel", P], R]) -> Callable[Concatenate["NetlinkKernel", P], R]:
    """Runs a method in the kernel's namespace: in a thread that enters it and ends with it, so no other is moved.

    pyroute2's own way into a namespace forks this process and then ends the child with SIGTERM. The child of an
    asyncio process shares the pipe of its signal handlers: the parent took the signal for its own, and went down.
    """

    @wraps(method)
    def run(self: "NetlinkKernel", /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.enter(lambda: method(self, *args, **kwargs))

    return run


class NetlinkKernel:
    """Linux through netlink. `namespace` is a path such as /run/netns/x; None is the namespace we run in."""

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace

    def enter(self, work: Callable[[], R]) -> R:
        """What `work` returns or raises inside our namespace. A namespace that is gone is a NetworkError."""
        if self._namespace is None:
            return work()
        path, results, failures = self._namespace, list[R](), list[BaseException]()

        def run() -> None:
            try:
                with open(path) as namespace:
                    if _LIBC.setns(namespace.fileno(), _CLONE_NEWNET):
                        raise OSError(ctypes.get_errno(), "setns")
            except OSError as error:
                failures.append(NetworkError(f"cannot enter {path}: {error}"))
                return
            try:
                results.append(work())
            except BaseException as error:  # handed to the caller, below
                failures.append(error)

        thread = threading.Thread(target=run, name="netns")
        thread.start()
        thread.join()
        if failures:
            raise failures[0]
        return results[0]

    @_inside
    def links(self) -> Sequence[Link]:
        with Netlink() as netlink:
            rows = netlink.links()
        return [Link(name=r.name, mac=r.mac, mtu=r.mtu, up=bool(r.flags & 1), alias=r.alias) for r in rows]

    @_inside
    def has_link(self, name: str) -> bool:
        with Netlink() as netlink:
            return bool(netlink.find(name))

    @_inside
    def ensure_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        with Netlink() as netlink:
            if not netlink.find(name):
                netlink.add_link(name, "bridge")
            netlink.set_link(netlink.index(name), mac=mac, mtu=mtu, up=True)

    @_inside
    def ensure_vxlan(self, name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> None:
        with Netlink() as netlink:
            found = netlink.find(name)
            if found and netlink.link(found).vxlan() != (vni, local, port):
                netlink.delete_link(found)
                found = 0
            if not found:
                netlink.add_link(name, "vxlan", data=vxlan_data(vni=vni, local=local, port=port), mac=mac)
            netlink.set_link(netlink.index(name), mac=mac, mtu=mtu, up=True)
        self._transmit_checksum_off(name)

    def _transmit_checksum_off(self, device: str) -> None:
        """Some drivers send broken inner checksums for offloaded VXLAN packets: compute them in software."""
        command = array.array("B", struct.pack("II", _ETHTOOL_STXCSUM, 0))
        request = struct.pack("16sP", device.encode(), command.buffer_info()[0])
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                fcntl.ioctl(sock.fileno(), _SIOCETHTOOL, request)
        except OSError as error:
            raise NetworkError(f"cannot turn off transmit checksums of {device}: {error}") from error

    @_inside
    def add_pod_link(self, name: str, *, pid: int, mtu: int, master: str, alias: str) -> None:
        with Netlink() as netlink:
            try:
                bridge = netlink.index(master)
                netlink.add_veth(name, peer="eth0", pid=pid, mtu=mtu, master=bridge, alias=alias)
                # Where netfilter sees bridged frames, a service's answer may be the asking pod: same port out.
                netlink.set_hairpin(netlink.index(name))
            except Refused as error:
                raise NetworkError(f"cannot link the namespace of process {pid}: {error}") from error

    def configure_pod(self, pid: int, *, address: str, mac: str, gateway: str) -> None:
        inside = NetlinkKernel(f"/proc/{pid}/ns/net")
        try:
            inside.enter(lambda: inside._configure_pod(address, mac, gateway))
        except Refused as error:
            raise NetworkError(f"cannot configure the namespace of process {pid}: {error}") from error

    def _configure_pod(self, address: str, mac: str, gateway: str) -> None:
        with Netlink() as netlink:
            eth0 = netlink.index("eth0")
            netlink.set_link(netlink.index("lo"), up=True)
            netlink.set_link(eth0, mac=mac, up=True)
            netlink.set_address(eth0, address, 32)
            netlink.set_route(f"{gateway}/32", link=eth0)
            netlink.set_route("0.0.0.0/0", link=eth0, gateway=gateway)

    def pod_address(self, pid: int) -> str | None:
        inside = NetlinkKernel(f"/proc/{pid}/ns/net")
        return inside.enter(inside._address_of_eth0)

    def _address_of_eth0(self) -> str | None:
        with Netlink() as netlink:
            found = netlink.find("eth0")
            return next((ip for ip, _ in netlink.addresses(found)), None) if found else None

    @_inside
    def delete_link(self, name: str) -> None:
        with Netlink() as netlink:
            if found := netlink.find(name):
                try:
                    netlink.delete_link(found)
                except Refused as error:
                    _ignore(error, _ENODEV)

    @_inside
    def set_alias(self, name: str, alias: str) -> None:
        with Netlink() as netlink:
            netlink.set_link(netlink.index(name), alias=alias)

    @_inside
    def ensure_addresses(self, device: str, addresses: Collection[str]) -> None:
        with Netlink() as netlink:
            index = netlink.index(device)
            for ip, prefix in netlink.addresses(index):
                if f"{ip}/{prefix}" not in addresses:
                    netlink.delete_address(index, ip, prefix)
            for address in addresses:
                ip, _, length = address.partition("/")
                netlink.set_address(index, ip, int(length))

    @_inside
    def neighbours(self, device: str) -> dict[str, str]:
        with Netlink() as netlink:
            index = netlink.index(device)
            return {n.address: n.mac for n in netlink.neighbours() if n.link == index and n.state & PERMANENT}

    @_inside
    def ensure_neighbour(self, device: str, ip: str, mac: str) -> None:
        with Netlink() as netlink:
            netlink.set_neighbour(netlink.index(device), ip, mac)

    @_inside
    def delete_neighbour(self, device: str, ip: str) -> None:
        with Netlink() as netlink:
            try:
                netlink.delete_neighbour(netlink.index(device), ip)
            except Refused as error:
                _ignore(error, _ENOENT)

    @_inside
    def forwardings(self, device: str) -> dict[str, str]:
        with Netlink() as netlink:
            index = netlink.index(device)
            return {n.mac: n.address for n in netlink.forwardings() if n.link == index and n.address}

    @_inside
    def ensure_forwarding(self, device: str, mac: str, outer: str) -> None:
        with Netlink() as netlink:
            netlink.set_forwarding(netlink.index(device), mac, outer)

    @_inside
    def delete_forwarding(self, device: str, mac: str, outer: str) -> None:
        with Netlink() as netlink:
            try:
                netlink.delete_forwarding(netlink.index(device), mac, outer)
            except Refused as error:
                _ignore(error, _ENOENT)

    @_inside
    def routes(self, device: str) -> Sequence[Route]:
        with Netlink() as netlink:
            index = netlink.index(device)
            return sorted(
                Route(
                    destination=f"{row.destination}/{row.prefix}",
                    via=row.gateway,
                    device=device,
                    onlink=bool(row.flags & ONLINK),
                )
                for row in netlink.routes()
                if row.protocol == ROUTE_PROTOCOL and row.link == index
            )

    @_inside
    def ensure_route(self, route: Route) -> None:
        with Netlink() as netlink:
            netlink.set_route(
                route.destination, link=netlink.index(route.device), gateway=route.via, protocol=ROUTE_PROTOCOL,
                flags=ONLINK if route.onlink else 0,
            )  # fmt: skip

    @_inside
    def delete_route(self, route: Route) -> None:
        with Netlink() as netlink:
            try:
                netlink.delete_route(route.destination, link=netlink.index(route.device), protocol=ROUTE_PROTOCOL)
            except Refused as error:
                _ignore(error, _ENOENT, _ESRCH)

    @_inside
    def set_sysctl(self, name: str, value: str) -> None:
        path = Path("/proc/sys") / name
        try:
            if path.read_text().strip() != value:
                path.write_text(value)
        except OSError as error:
            raise NetworkError(f"cannot set {name} to {value}: {error}") from error

    @_inside
    def udp_flows(self) -> Sequence[Flow]:
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket  # 10 MiB: only where something serves UDP

        with NFCTSocket() as netlink:
            entries = list(netlink.dump())
        flows = []
        for entry in entries:
            asked, answered = entry.get_attr("CTA_TUPLE_ORIG"), entry.get_attr("CTA_TUPLE_REPLY")
            proto = asked.get_attr("CTA_TUPLE_PROTO")
            if proto.get_attr("CTA_PROTO_NUM") == socket.IPPROTO_UDP:
                ends, back = asked.get_attr("CTA_TUPLE_IP"), answered.get_attr("CTA_TUPLE_IP")
                flows.append(
                    Flow(
                        source=ends.get_attr("CTA_IP_V4_SRC"),
                        source_port=proto.get_attr("CTA_PROTO_SRC_PORT"),
                        destination=ends.get_attr("CTA_IP_V4_DST"),
                        destination_port=proto.get_attr("CTA_PROTO_DST_PORT"),
                        answers_from=back.get_attr("CTA_IP_V4_SRC"),
                        answers_port=answered.get_attr("CTA_TUPLE_PROTO").get_attr("CTA_PROTO_SRC_PORT"),
                    )
                )
        return flows

    @_inside
    def delete_flow(self, flow: Flow) -> None:
        from pyroute2.netlink.exceptions import NetlinkError
        from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

        key = NFCTAttrTuple(
            saddr=flow.source, daddr=flow.destination, proto=socket.IPPROTO_UDP,
            sport=flow.source_port, dport=flow.destination_port,
        )  # fmt: skip
        with NFCTSocket() as netlink:
            try:
                netlink.entry("del", tuple_orig=key)
            except NetlinkError as error:
                if error.code != _ENOENT:
                    raise NetworkError(str(error)) from error

    def has_chain(self, table: str, chain: str) -> bool:
        command = [*self._command(), "list", "chain", *table.split(), chain]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _command(self) -> list[str]:
        return ["nft"] if self._namespace is None else ["nsenter", f"--net={self._namespace}", "nft"]

    def nft(self, script: str) -> None:
        done = subprocess.run([*self._command(), "-f", "-"], input=script, capture_output=True, text=True)
        if done.returncode:
            raise NetworkError(f"nft refused: {done.stderr.strip()[:2000]}")
