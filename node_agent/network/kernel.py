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
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from node_agent.network.errors import NetworkError

ROUTE_PROTOCOL = 83
"""Tag of our routes: only routes with this protocol number are ever removed."""

_ENOENT, _EEXIST, _ENODEV, _ESRCH, _ENOTSUP, _EADDRNOTAVAIL = 2, 17, 19, 3, 95, 99
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x00000017
_NUD_PERMANENT = 0x80
_ONLINK = 4
_NTF_SELF = 2
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
    def ensure_bridge(self, name: str, *, mac: str, mtu: int) -> None: ...
    def ensure_vxlan(self, name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> None: ...
    def add_pod_link(self, name: str, *, pid: int, mtu: int, master: str, alias: str) -> None:
        """A veth pair: `name` here on the bridge `master`, `eth0` in the namespace of process `pid`."""
        ...

    def configure_pod(self, pid: int, *, address: str, gateway: str) -> None:
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


def _ignore(error: NetlinkError, *codes: int) -> None:
    if error.code not in codes:
        raise NetworkError(str(error)) from error


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

    def _index(self, route: Any, name: str) -> int:
        found = route.link_lookup(ifname=name)
        if not found:
            raise NetworkError(f"no network device {name}")
        return int(found[0])

    @_inside
    def links(self) -> Sequence[Link]:
        with IPRoute() as route:
            return [
                Link(
                    name=link.get_attr("IFLA_IFNAME"),
                    mac=link.get_attr("IFLA_ADDRESS") or "",
                    mtu=link.get_attr("IFLA_MTU") or 0,
                    up=bool(link["flags"] & 1),
                    alias=link.get_attr("IFLA_IFALIAS") or "",
                )
                for link in route.get_links()
            ]

    @_inside
    def ensure_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        with IPRoute() as route:
            if not route.link_lookup(ifname=name):
                route.link("add", ifname=name, kind="bridge")
            route.link("set", index=self._index(route, name), address=mac, mtu=mtu, state="up")

    @_inside
    def ensure_vxlan(self, name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> None:
        with IPRoute() as route:
            found = route.link_lookup(ifname=name)
            if found:
                data = route.get_links(found[0])[0].get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
                same = data is not None and (
                    data.get_attr("IFLA_VXLAN_ID"),
                    data.get_attr("IFLA_VXLAN_LOCAL"),
                    data.get_attr("IFLA_VXLAN_PORT"),
                ) == (vni, local, port)
                if not same:
                    route.link("del", index=found[0])
                    found = ()
            if not found:
                route.link(
                    "add", ifname=name, kind="vxlan", vxlan_id=vni, vxlan_local=local, vxlan_port=port,
                    vxlan_learning=0, address=mac,
                )  # fmt: skip
            route.link("set", index=self._index(route, name), address=mac, mtu=mtu, state="up")
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
        with IPRoute() as route:
            try:
                route.link(
                    "add",
                    ifname=name,
                    kind="veth",
                    mtu=mtu,
                    peer={"ifname": "eth0", "mtu": mtu, "net_ns_pid": pid},
                )
                index = self._index(route, name)
                route.link("set", index=index, ifalias=alias, master=self._index(route, master), state="up")
                # Where netfilter sees bridged frames, a service's answer may be the asking pod: same port out.
                route.brport("set", index=index, mode=1)
            except NetlinkError as error:
                raise NetworkError(f"cannot link the namespace of process {pid}: {error}") from error

    def configure_pod(self, pid: int, *, address: str, gateway: str) -> None:
        inside = NetlinkKernel(f"/proc/{pid}/ns/net")
        try:
            inside.enter(lambda: inside._configure_pod(address, gateway))
        except NetlinkError as error:
            raise NetworkError(f"cannot configure the namespace of process {pid}: {error}") from error

    def _configure_pod(self, address: str, gateway: str) -> None:
        with IPRoute() as route:
            eth0 = self._index(route, "eth0")
            route.link("set", index=self._index(route, "lo"), state="up")
            route.link("set", index=eth0, state="up")
            route.addr("replace", index=eth0, address=address, prefixlen=32)
            route.route("replace", dst=f"{gateway}/32", oif=eth0, scope=253)
            route.route("replace", dst="default", gateway=gateway, oif=eth0)

    def pod_address(self, pid: int) -> str | None:
        inside = NetlinkKernel(f"/proc/{pid}/ns/net")
        return inside.enter(inside._address_of_eth0)

    def _address_of_eth0(self) -> str | None:
        with IPRoute() as route:
            found = route.link_lookup(ifname="eth0")
            if not found:
                return None
            for item in route.get_addr(family=socket.AF_INET, index=found[0]):
                return str(item.get_attr("IFA_ADDRESS"))
        return None

    @_inside
    def delete_link(self, name: str) -> None:
        with IPRoute() as route:
            found = route.link_lookup(ifname=name)
            if not found:
                return
            try:
                route.link("del", index=found[0])
            except NetlinkError as error:
                _ignore(error, _ENODEV)

    @_inside
    def set_alias(self, name: str, alias: str) -> None:
        with IPRoute() as route:
            route.link("set", index=self._index(route, name), ifalias=alias)

    @_inside
    def ensure_addresses(self, device: str, addresses: Collection[str]) -> None:
        with IPRoute() as route:
            index = self._index(route, device)
            for item in list(route.get_addr(family=socket.AF_INET, index=index)):
                ip, prefix = item.get_attr("IFA_ADDRESS"), item["prefixlen"]
                if f"{ip}/{prefix}" not in addresses:
                    route.addr("del", index=index, address=ip, prefixlen=prefix)
            for address in addresses:
                ip, _, length = address.partition("/")
                route.addr("replace", index=index, address=ip, prefixlen=int(length))

    @_inside
    def neighbours(self, device: str) -> dict[str, str]:
        with IPRoute() as route:
            found = route.get_neighbours(family=socket.AF_INET, ifindex=self._index(route, device))
            return {
                item.get_attr("NDA_DST"): item.get_attr("NDA_LLADDR")
                for item in found
                if item["state"] & _NUD_PERMANENT
            }

    @_inside
    def ensure_neighbour(self, device: str, ip: str, mac: str) -> None:
        with IPRoute() as route:
            route.neigh("replace", ifindex=self._index(route, device), dst=ip, lladdr=mac, state=_NUD_PERMANENT)

    @_inside
    def delete_neighbour(self, device: str, ip: str) -> None:
        with IPRoute() as route:
            try:
                route.neigh("del", ifindex=self._index(route, device), dst=ip)
            except NetlinkError as error:
                _ignore(error, _ENOENT)

    @_inside
    def forwardings(self, device: str) -> dict[str, str]:
        with IPRoute() as route:
            found = route.fdb("dump", ifindex=self._index(route, device))
            return {item.get_attr("NDA_LLADDR"): item.get_attr("NDA_DST") for item in found if item.get_attr("NDA_DST")}

    @_inside
    def ensure_forwarding(self, device: str, mac: str, outer: str) -> None:
        with IPRoute() as route:
            route.fdb(
                "replace", ifindex=self._index(route, device), lladdr=mac, dst=outer,
                flags=_NTF_SELF, state=_NUD_PERMANENT,
            )  # fmt: skip

    @_inside
    def delete_forwarding(self, device: str, mac: str, outer: str) -> None:
        with IPRoute() as route:
            try:
                route.fdb("del", ifindex=self._index(route, device), lladdr=mac, dst=outer, flags=_NTF_SELF)
            except NetlinkError as error:
                _ignore(error, _ENOENT)

    @_inside
    def routes(self, device: str) -> Sequence[Route]:
        with IPRoute() as route:
            index = self._index(route, device)
            return sorted(
                Route(
                    destination=f"{item.get_attr('RTA_DST')}/{item['dst_len']}",
                    via=item.get_attr("RTA_GATEWAY") or "",
                    device=device,
                    onlink=bool(item["flags"] & _ONLINK),
                )
                for item in route.get_routes(family=socket.AF_INET, oif=index)
                if item["proto"] == ROUTE_PROTOCOL and item.get_attr("RTA_OIF") == index
            )

    @_inside
    def ensure_route(self, route: Route) -> None:
        with IPRoute() as netlink:
            netlink.route(
                "replace", dst=route.destination, gateway=route.via or None,
                oif=self._index(netlink, route.device),
                proto=ROUTE_PROTOCOL, flags=["onlink"] if route.onlink else [],
            )  # fmt: skip

    @_inside
    def delete_route(self, route: Route) -> None:
        with IPRoute() as netlink:
            try:
                netlink.route(
                    "del", dst=route.destination, oif=self._index(netlink, route.device), proto=ROUTE_PROTOCOL
                )
            except NetlinkError as error:
                _ignore(error, _ESRCH, _ENOENT)

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
        key = NFCTAttrTuple(
            saddr=flow.source, daddr=flow.destination, proto=socket.IPPROTO_UDP,
            sport=flow.source_port, dport=flow.destination_port,
        )  # fmt: skip
        with NFCTSocket() as netlink:
            try:
                netlink.entry("del", tuple_orig=key)
            except NetlinkError as error:
                _ignore(error, _ENOENT)

    def has_chain(self, table: str, chain: str) -> bool:
        command = [*self._command(), "list", "chain", *table.split(), chain]
        return subprocess.run(command, capture_output=True).returncode == 0

    def _command(self) -> list[str]:
        return ["nft"] if self._namespace is None else ["nsenter", f"--net={self._namespace}", "nft"]

    def nft(self, script: str) -> None:
        done = subprocess.run([*self._command(), "-f", "-"], input=script, capture_output=True, text=True)
        if done.returncode:
            raise NetworkError(f"nft refused: {done.stderr.strip()[:2000]}")
