"""Linux's rtnetlink, as far as a node's network needs it: links, addresses, routes, neighbours.

A request is a header, a fixed part and attributes; the kernel answers with an acknowledgement or a dump. Numbers are
those of linux/rtnetlink.h, if_link.h and neighbour.h. One socket serves one thread in one namespace: `with Route() as r`.

pyroute2 does this and far more; that more costs an agent 10 MiB, 0.1 s of its start and 12 ms per pod
(docs/decisions/0012-containers.md). What is asked once in a while (connection tracking) is left to it.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from node_agent.network.errors import NetworkError

_REQUEST, _ACK, _INTERRUPTED = 0x1, 0x4, 0x10
_REPLACE, _EXCLUSIVE, _CREATE, _DUMP = 0x100, 0x200, 0x400, 0x300
_ERROR, _DONE = 2, 3
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE, _GETROUTE = 24, 25, 26
_NEWNEIGH, _DELNEIGH, _GETNEIGH = 28, 29, 30

_HEADER = struct.Struct("=IHHII")
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, which flags to change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix, flags, scope, link
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, to/from prefix, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, link, state, flags, type
_ATTRIBUTE = struct.Struct("=HH")

_MAC, _NAME, _MTU, _MASTER, _PORT_INFO, _LINK_INFO, _NS_PID, _ALIAS = 1, 3, 4, 10, 12, 18, 19, 20
_KIND, _DATA, _VETH_PEER, _HAIRPIN = 1, 2, 1, 4
_VXLAN_ID, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT = 1, 4, 7, 15
_NESTED, _BRIDGE, _UP = 0x8000, 7, 1
_MAIN, _UNICAST, _NOWHERE, ON_LINK_SCOPE = 254, 1, 255, 253
STATIC, ONLINK, PERMANENT, SELF = 4, 4, 0x80, 2

Attributes = Mapping[int, bytes]


class Refused(NetworkError):
    """The kernel said no; `code` is its errno."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{os.strerror(code)} ({errno.errorcode.get(code, code)})")
        self.code = code


@dataclass(frozen=True, slots=True)
class LinkRow:
    index: int
    flags: int
    attributes: Attributes

    @property
    def name(self) -> str:
        return _text(self.attributes.get(_NAME, b""))

    @property
    def mac(self) -> str:
        return mac_text(self.attributes.get(_MAC, b""))

    @property
    def mtu(self) -> int:
        return _number(self.attributes.get(_MTU, b""))

    @property
    def alias(self) -> str:
        return _text(self.attributes.get(_ALIAS, b""))

    def vxlan(self) -> tuple[int, str, int]:
        """Its number, outer address and port."""
        data = parse(parse(self.attributes.get(_LINK_INFO, b"")).get(_DATA, b""))
        local, port = data.get(_VXLAN_LOCAL, b""), data.get(_VXLAN_PORT, b"")
        return _number(data.get(_VXLAN_ID, b"")), socket.inet_ntoa(local) if local else "", int.from_bytes(port, "big")


@dataclass(frozen=True, slots=True)
class RouteRow:
    destination: str
    prefix: int
    protocol: int
    flags: int
    link: int
    gateway: str


@dataclass(frozen=True, slots=True)
class NeighbourRow:
    link: int
    state: int
    address: str
    mac: str


class Route:
    """One conversation with the kernel, in the namespace of the thread that opens it."""

    def __enter__(self) -> "Route":
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self._socket.bind((0, 0))
        self._serial = 0
        return self

    def __exit__(self, *why: object) -> None:
        self._socket.close()

    # links

    def index(self, name: str) -> int:
        found = self.find(name)
        if not found:
            raise NetworkError(f"no network device {name}")
        return found

    def find(self, name: str) -> int:
        """0: there is none."""
        try:
            return socket.if_nametoindex(name)
        except OSError:
            return 0

    def links(self) -> list[LinkRow]:
        return [_link(data) for data in self._dump(_GETLINK, _LINK.pack(0, 0, 0, 0, 0))]

    def link(self, index: int) -> LinkRow:
        (data,) = self._ask(_GETLINK, 0, _LINK.pack(0, 0, index, 0, 0))
        return _link(data)

    def add_link(self, name: str, kind: str, *, data: bytes = b"", mac: str = "") -> None:
        info = attribute(_KIND, kind.encode()) + (attribute(_DATA | _NESTED, data) if data else b"")
        own = attribute(_NAME, name.encode() + b"\0") + (attribute(_MAC, mac_bytes(mac)) if mac else b"")
        body = _LINK.pack(0, 0, 0, 0, 0) + own + attribute(_LINK_INFO | _NESTED, info)
        self._ask(_NEWLINK, _CREATE | _EXCLUSIVE, body)

    def add_veth(self, name: str, *, peer: str, pid: int, mtu: int, master: int, alias: str) -> None:
        """`name` here, up and on the bridge `master`; `peer` in the namespace of process `pid`."""
        there = _LINK.pack(0, 0, 0, 0, 0) + attribute(_NAME, peer.encode() + b"\0") + attribute(_MTU, _u32(mtu))
        there += attribute(_NS_PID, _u32(pid))
        info = attribute(_KIND, b"veth") + attribute(_DATA | _NESTED, attribute(_VETH_PEER | _NESTED, there))
        here = attribute(_NAME, name.encode() + b"\0") + attribute(_MTU, _u32(mtu))
        self._ask(
            _NEWLINK,
            _CREATE | _EXCLUSIVE,
            _LINK.pack(0, 0, 0, 0, 0) + here + attribute(_LINK_INFO | _NESTED, info),
        )
        last = attribute(_ALIAS, alias.encode()) + attribute(_MASTER, _u32(master))
        self._ask(_NEWLINK, 0, _LINK.pack(0, 0, self.index(name), _UP, _UP) + last)

    def set_link(self, index: int, *, mac: str = "", mtu: int = 0, alias: str | None = None, up: bool = False) -> None:
        body = _LINK.pack(0, 0, index, _UP if up else 0, _UP if up else 0)
        body += attribute(_MAC, mac_bytes(mac)) if mac else b""
        body += attribute(_MTU, _u32(mtu)) if mtu else b""
        body += attribute(_ALIAS, alias.encode()) if alias is not None else b""
        self._ask(_NEWLINK, 0, body)

    def set_hairpin(self, index: int) -> None:
        """What came in by this port of a bridge may leave by it."""
        port = attribute(_PORT_INFO | _NESTED, attribute(_HAIRPIN, b"\1"))
        self._ask(_SETLINK, 0, _LINK.pack(_BRIDGE, 0, index, 0, 0) + port)

    def delete_link(self, index: int) -> None:
        self._ask(_DELLINK, 0, _LINK.pack(0, 0, index, 0, 0))

    # addresses

    def addresses(self, index: int) -> list[tuple[str, int]]:
        """IPv4, with the length of the prefix."""
        found = []
        for data in self._dump(_GETADDR, _ADDRESS.pack(socket.AF_INET, 0, 0, 0, 0)):
            _, prefix, _, _, link = _ADDRESS.unpack_from(data)
            if link == index and (raw := parse(data[_ADDRESS.size :]).get(1)) is not None:
                found.append((socket.inet_ntoa(raw), prefix))
        return found

    def set_address(self, index: int, address: str, prefix: int) -> None:
        self._ask(_NEWADDR, _CREATE | _REPLACE, _address(index, address, prefix))

    def delete_address(self, index: int, address: str, prefix: int) -> None:
        self._ask(_DELADDR, 0, _address(index, address, prefix))

    # routes

    def routes(self) -> list[RouteRow]:
        """IPv4, of all tables."""
        found = []
        for data in self._dump(_GETROUTE, _ROUTE.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)):
            _, prefix, _, _, _, protocol, _, _, flags = _ROUTE.unpack_from(data)
            known = parse(data[_ROUTE.size :])
            to, via = known.get(1, bytes(4)), known.get(5)
            gateway = socket.inet_ntoa(via) if via else ""
            link = _number(known.get(4, b""))
            found.append(RouteRow(socket.inet_ntoa(to), prefix, protocol, flags, link, gateway))
        return found

    def set_route(
        self, destination: str, *, link: int, gateway: str = "", protocol: int = STATIC, flags: int = 0
    ) -> None:
        """`destination`: address/prefix, or "0.0.0.0/0". Without a gateway it is on the link."""
        scope = 0 if gateway else ON_LINK_SCOPE
        body = _route(destination, link, protocol=protocol, scope=scope, kind=_UNICAST, flags=flags)
        body += attribute(5, socket.inet_aton(gateway)) if gateway else b""
        self._ask(_NEWROUTE, _CREATE | _REPLACE, body)

    def delete_route(self, destination: str, *, link: int, protocol: int) -> None:
        self._ask(_DELROUTE, 0, _route(destination, link, protocol=protocol, scope=_NOWHERE, kind=0, flags=0))

    # neighbours, and what a VXLAN device forwards where

    def neighbours(self) -> list[NeighbourRow]:
        return self._neighbours(socket.AF_INET)

    def forwardings(self) -> list[NeighbourRow]:
        return self._neighbours(_BRIDGE)

    def set_neighbour(self, link: int, address: str, mac: str) -> None:
        body = _NEIGHBOUR.pack(socket.AF_INET, link, PERMANENT, 0, 0)
        self._ask(_NEWNEIGH, _CREATE | _REPLACE, body + _ends(address, mac))

    def delete_neighbour(self, link: int, address: str) -> None:
        body = _NEIGHBOUR.pack(socket.AF_INET, link, 0, 0, 0)
        self._ask(_DELNEIGH, 0, body + attribute(1, socket.inet_aton(address)))

    def set_forwarding(self, link: int, mac: str, outer: str) -> None:
        body = _NEIGHBOUR.pack(_BRIDGE, link, PERMANENT, SELF, 0)
        self._ask(_NEWNEIGH, _CREATE | _REPLACE, body + _ends(outer, mac))

    def delete_forwarding(self, link: int, mac: str, outer: str) -> None:
        self._ask(_DELNEIGH, 0, _NEIGHBOUR.pack(_BRIDGE, link, 0, SELF, 0) + _ends(outer, mac))

    def _neighbours(self, family: int) -> list[NeighbourRow]:
        found = []
        for data in self._dump(_GETNEIGH, _NEIGHBOUR.pack(family, 0, 0, 0, 0)):
            _, link, state, _, _ = _NEIGHBOUR.unpack_from(data)
            known = parse(data[_NEIGHBOUR.size :])
            address = socket.inet_ntoa(known[1]) if len(known.get(1, b"")) == 4 else ""
            found.append(NeighbourRow(link, state, address, mac_text(known.get(2, b""))))
        return found

    # the wire

    def _dump(self, kind: int, body: bytes) -> Sequence[bytes]:
        while True:  # the kernel says when things changed under the dump's hands
            rows = self._exchange(kind, _REQUEST | _DUMP, body)
            if rows is not None:
                return rows

    def _ask(self, kind: int, flags: int, body: bytes) -> Sequence[bytes]:
        return self._exchange(kind, _REQUEST | _ACK | flags, body) or ()

    def _exchange(self, kind: int, flags: int, body: bytes) -> list[bytes] | None:
        self._serial += 1
        self._socket.send(_HEADER.pack(_HEADER.size + len(body), kind, flags, self._serial, 0) + body)
        rows, interrupted = list[bytes](), False
        while True:
            data = self._socket.recv(1 << 18)
            at = 0
            while at + _HEADER.size <= len(data):
                length, answer, marks, serial, _ = _HEADER.unpack_from(data, at)
                payload = data[at + _HEADER.size : at + length]
                at += (length + 3) & ~3
                if serial != self._serial:
                    continue
                interrupted |= bool(marks & _INTERRUPTED)
                if answer in (_ERROR, _DONE):
                    if code := -int.from_bytes(payload[:4], sys.byteorder, signed=True):
                        raise Refused(code)
                    return None if interrupted else rows
                rows.append(payload)


def attribute(kind: int, data: bytes) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + bytes(-len(data) % 4)


def parse(data: bytes) -> dict[int, bytes]:
    return dict(_attributes(data))


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            return
        yield kind & 0x3FFF, data[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def vxlan_data(*, vni: int, local: str, port: int) -> bytes:
    """Of a device that learns nothing by itself."""
    return (
        attribute(_VXLAN_ID, _u32(vni))
        + attribute(_VXLAN_LOCAL, socket.inet_aton(local))
        + attribute(_VXLAN_LEARNING, b"\0")
        + attribute(_VXLAN_PORT, port.to_bytes(2, "big"))
    )


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def mac_text(raw: bytes) -> str:
    return raw.hex(":") if raw else ""


def _link(data: bytes) -> LinkRow:
    _, _, index, flags, _ = _LINK.unpack_from(data)
    return LinkRow(index, flags, parse(data[_LINK.size :]))


def _address(index: int, address: str, prefix: int) -> bytes:
    raw = socket.inet_aton(address)
    return _ADDRESS.pack(socket.AF_INET, prefix, 0, 0, index) + attribute(1, raw) + attribute(2, raw)


def _route(destination: str, link: int, *, protocol: int, scope: int, kind: int, flags: int) -> bytes:
    address, _, prefix = destination.partition("/")
    body = _ROUTE.pack(socket.AF_INET, int(prefix), 0, 0, _MAIN, protocol, scope, kind, flags)
    return body + (attribute(1, socket.inet_aton(address)) if int(prefix) else b"") + attribute(4, _u32(link))


def _ends(address: str, mac: str) -> bytes:
    return attribute(1, socket.inet_aton(address)) + attribute(2, mac_bytes(mac))


def _u32(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, sys.byteorder)


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")
