"""The node's DNS server: every pod asks the one on its own node, so no query crosses the network or
connection tracking.

Names of the cluster domain are answered from the records that were last set, wholly (authoritative, also for
"no such name" and "no such type", so that AAAA questions never wait). Reverse names of known addresses are
answered too. All else is forwarded to the machine's name servers, or answered SERVFAIL when there are none.

A pod may be asked for by its address, 10-244-1-2.NAMESPACE.pod.DOMAIN, whether or not there is one.

Forwarding: one name server after the other, two seconds each, over UDP, and over TCP when the answer was cut and the
client can take it whole. A question that comes back to us while we wait for its answer is a loop and fails at once.

A record's values: an IPv4 or IPv6 address; "PORT TARGET" for a service record; any other text is an alias.
"""

import asyncio
import ipaddress
import logging
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import cast

from dnslib import AAAA, CNAME, EDNS0, OPCODE, PTR, QTYPE, RCODE, RR, SOA, SRV, A, DNSError, DNSRecord

TTL = 5
_FORWARD_TIMEOUT = 2.0
_MAX_FORWARDS = 512
_OUR_UDP_SIZE = 1232
"""Bytes that fit into one packet on any path: what we say we can take, and the most that we send."""
_POD_NAME = re.compile(r"(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})\.[a-z0-9-]+\.pod")
_LOG = logging.getLogger(__name__)


def upstreams(resolv_conf: str, *, ours: Iterable[str] = ()) -> list[str]:
    """The name servers of a resolv.conf, without our own addresses and those of loopback (a loop)."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and words[1] not in set(ours) and _is_outside(words[1]):
            found.append(words[1])
    return found[:3]


def _is_outside(server: str) -> bool:
    """Loopback is this namespace's own: we ourselves, or nobody."""
    return _is_address(server) and not ipaddress.ip_address(server).is_loopback and "%" not in server


def _reverse(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class Zone:
    """Answers from records; a pure function of question and records, but for the order of several
    addresses.
    """

    def __init__(self, domain: str, records: Mapping[str, Sequence[str]], random: Random) -> None:
        self._domain = domain.lower().rstrip(".")
        self._records = {name.lower().rstrip("."): tuple(values) for name, values in records.items()}
        self._random = random
        self._parents: set[str] = {self._domain}
        self._names: dict[str, str] = {}
        for name, values in self._records.items():
            parent = name
            while "." in parent:
                parent = parent.partition(".")[2]
                self._parents.add(parent)
            for value in values:
                if _is_address(value):
                    key = _reverse(value)
                    # An address has one name, the longest: a pod of a headless service before the service.
                    if (len(name), name) > (len(self._names.get(key, "")), self._names.get(key, "")):
                        self._names[key] = name

    def answer(self, request: DNSRecord) -> DNSRecord | None:
        """None: not ours, ask the world."""
        name = str(request.q.qname).lower().rstrip(".")
        kind = request.q.qtype
        if name in self._names:
            reply = self._reply(request)
            if kind in (QTYPE.PTR, QTYPE.ANY):
                reply.add_answer(RR(request.q.qname, QTYPE.PTR, ttl=TTL, rdata=PTR(self._names[name])))
            return reply
        if name != self._domain and not name.endswith("." + self._domain) and name not in self._records:
            return None
        reply = self._reply(request)
        if name in self._records:
            self._fill(reply, request.q.qname, name, kind, depth=0)
        elif (pod := self._pod_address(name)) is not None:
            if kind in (QTYPE.A, QTYPE.ANY):
                reply.add_answer(RR(request.q.qname, QTYPE.A, ttl=TTL, rdata=A(pod)))
        elif name not in self._parents:
            reply.header.rcode = RCODE.NXDOMAIN
        if not reply.rr:
            serial = SOA(f"ns.dns.{self._domain}", f"hostmaster.{self._domain}", (1, 7200, 1800, 86400, TTL))
            reply.add_auth(RR(self._domain, QTYPE.SOA, ttl=TTL, rdata=serial))
        return reply

    def _pod_address(self, name: str) -> str | None:
        match = _POD_NAME.fullmatch(name.removesuffix("." + self._domain))
        address = ".".join(match.groups()) if match is not None else ""
        return address if _is_address(address) else None

    def _reply(self, request: DNSRecord) -> DNSRecord:
        reply = request.reply(aa=1, ra=1)
        if _edns(request) is not None:
            reply.add_ar(EDNS0(udp_len=_OUR_UDP_SIZE))
        return reply

    def _fill(self, reply: DNSRecord, owner: object, name: str, kind: int, *, depth: int) -> None:
        values = list(self._records.get(name, ()))
        self._random.shuffle(values)
        for value in values:
            if _is_address(value):
                wide = ":" in value
                if kind in (QTYPE.AAAA if wide else QTYPE.A, QTYPE.ANY):
                    data = AAAA(value) if wide else A(value)
                    reply.add_answer(RR(owner, QTYPE.AAAA if wide else QTYPE.A, ttl=TTL, rdata=data))
            elif " " in value:
                if kind in (QTYPE.SRV, QTYPE.ANY):
                    port, target = value.split(" ", 1)
                    reply.add_answer(RR(owner, QTYPE.SRV, ttl=TTL, rdata=SRV(0, 100, int(port), target)))
                    for address in self._records.get(target.lower().rstrip("."), ()):
                        if _is_address(address) and ":" not in address:
                            reply.add_ar(RR(target, QTYPE.A, ttl=TTL, rdata=A(address)))
            else:
                reply.add_answer(RR(owner, QTYPE.CNAME, ttl=TTL, rdata=CNAME(value)))
                if depth < 8 and kind != QTYPE.CNAME:
                    self._fill(reply, value, value.lower().rstrip("."), kind, depth=depth + 1)


def _pack(reply: DNSRecord, limit: int) -> bytes:
    packed: bytes = reply.pack()
    if len(packed) <= limit:
        return packed
    # With its question, else resolvers take it for somebody else's; and with what fits, for those that never ask twice.
    short = reply.truncate()
    short.add_question(reply.q)
    for extra in reply.ar:
        if extra.rtype == QTYPE.OPT:
            short.add_ar(extra)
    fits: bytes = short.pack()
    for answer in reply.rr:
        short.add_answer(answer)
        longer = bytes(short.pack())
        if len(longer) > limit:
            break
        fits = longer
    return fits


class _Once(asyncio.DatagramProtocol):
    """One question to one upstream, from a port of its own: the answer must bear the question's number."""

    def __init__(self, question: bytes, answer: asyncio.Future[bytes]) -> None:
        self._question, self._answer = question, answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._question)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if data[:2] == self._question[:2] and not self._answer.done():
            self._answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self._answer.done():
            self._answer.set_exception(exc)


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: "DnsServer") -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr, self._transport)


class DnsServer:
    def __init__(
        self,
        *,
        domain: str,
        upstreams: Sequence[str],
        random: Random,
        upstream_port: int = 53,
        log: logging.Logger = _LOG,
    ) -> None:
        self._domain, self._random, self._log = domain, random, log
        self._upstreams, self._upstream_port = list(upstreams), upstream_port
        self._zone = Zone(domain, {}, random)
        self._udp: list[asyncio.DatagramTransport] = []
        self._tcp: list[asyncio.Server] = []
        self._forwards: set[asyncio.Task[None]] = set()
        """Owned here: each ends by itself within the forward timeout, close() ends the rest."""
        self._asked: dict[tuple[int, str, int], object] = {}
        """Questions we are asking the world just now, with who asked us."""
        self._writers: set[asyncio.StreamWriter] = set()

    def set_records(self, records: Mapping[str, Sequence[str]]) -> None:
        self._zone = Zone(self._domain, records, self._random)

    async def start(self, addresses: Sequence[str], port: int = 53) -> None:
        loop = asyncio.get_running_loop()
        for address in addresses:
            transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), local_addr=(address, port))
            self._udp.append(transport)
            self._tcp.append(await asyncio.start_server(self._stream, address, port))

    @property
    def udp_port(self) -> int:
        return int(self._udp[0].get_extra_info("sockname")[1])

    @property
    def tcp_port(self) -> int:
        return int(self._tcp[0].sockets[0].getsockname()[1])

    async def close(self) -> None:
        for transport in self._udp:
            transport.close()
        for server in self._tcp:
            server.close()
        for writer in self._writers:
            writer.close()
        for task in self._forwards:
            task.cancel()
        await asyncio.gather(*self._forwards, return_exceptions=True)
        self._udp, self._tcp = [], []

    def datagram(self, data: bytes, addr: tuple[str, int], transport: asyncio.DatagramTransport | None) -> None:
        if transport is None:
            return
        request = self._parse(data)
        if request is None:
            return
        reply = self._zone.answer(request)
        if reply is not None and not self._leads_out(request, reply):
            transport.sendto(_pack(reply, _udp_limit(request)), addr)
        elif (asker := self._asked.get(_key(request))) is not None:
            if asker != addr:
                self._log.warning("the question for %s has come back to us: a name server loop", request.q.qname)
                transport.sendto(_failure(request), addr)
        elif not self._upstreams or len(self._forwards) >= _MAX_FORWARDS:
            transport.sendto(_failure(request), addr)
        else:
            self._asked[_key(request)] = addr
            task = asyncio.create_task(self._forward_datagram(data, request, addr, transport))
            self._forwards.add(task)
            task.add_done_callback(self._forwards.discard)

    async def _forward_datagram(
        self, data: bytes, request: DNSRecord, addr: tuple[str, int], transport: asyncio.DatagramTransport
    ) -> None:
        try:
            reply = await self._answer(data, request, _udp_limit(request))
        finally:
            self._asked.pop(_key(request), None)
        if not transport.is_closing():
            transport.sendto(reply, addr)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                async with asyncio.timeout(10):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    data = await reader.readexactly(length)
                request = self._parse(data)
                if request is None:
                    return
                packed = await self._answer(data, request, 65535)
                writer.write(struct.pack("!H", len(packed)) + packed)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            return  # The client is done, gone, or idle for too long.
        finally:
            self._writers.discard(writer)
            writer.close()

    def _parse(self, data: bytes) -> DNSRecord | None:
        """None for what is no question: dropped, since there is nobody sure to answer to."""
        try:
            request = DNSRecord.parse(data)
        except (DNSError, UnicodeDecodeError, ValueError, IndexError, struct.error) as error:
            self._log.debug("a DNS packet of %d bytes cannot be read: %s", len(data), error)
            return None
        return request if request.questions and not request.header.qr else None

    def _leads_out(self, request: DNSRecord, reply: DNSRecord) -> bool:
        """An alias of a name that is not ours: its address must be asked for, stub resolvers do not."""
        if not reply.rr or reply.rr[-1].rtype != QTYPE.CNAME or request.q.qtype not in (QTYPE.A, QTYPE.AAAA):
            return False
        target = DNSRecord.question(str(reply.rr[-1].rdata), QTYPE[request.q.qtype])
        return bool(self._upstreams) and self._zone.answer(target) is None

    async def _answer(self, data: bytes, request: DNSRecord, limit: int) -> bytes:
        reply = self._zone.answer(request)
        if request.header.opcode != OPCODE.QUERY:
            return _failure(request, RCODE.NOTIMP)
        if reply is None:
            return await self._forward(data, request, whole=limit > _OUR_UDP_SIZE)
        if self._leads_out(request, reply):
            target = DNSRecord.question(str(reply.rr[-1].rdata), QTYPE[request.q.qtype])
            target.header.id = self._random.randrange(1 << 16)
            found = self._parse_reply(await self._forward(target.pack(), target, whole=True))
            if found is None or found.header.rcode == RCODE.SERVFAIL:
                return _failure(request)
            reply.add_answer(*found.rr)
        return _pack(reply, limit)

    def _parse_reply(self, data: bytes) -> DNSRecord | None:
        try:
            return DNSRecord.parse(data)
        except (DNSError, UnicodeDecodeError, ValueError, IndexError, struct.error) as error:
            self._log.debug("a name server's answer cannot be read: %s", error)
            return None

    async def _forward(self, data: bytes, request: DNSRecord, *, whole: bool) -> bytes:
        """`whole`: an answer that was cut is asked for again over TCP."""
        loop = asyncio.get_running_loop()
        for upstream in self._upstreams:
            answer: asyncio.Future[bytes] = loop.create_future()
            try:
                transport, _ = await loop.create_datagram_endpoint(
                    lambda answer=answer: _Once(data, answer),  # type: ignore[misc]
                    remote_addr=(upstream, self._upstream_port),
                )
            except OSError as error:
                self._log.debug("name server %s: %s", upstream, error)
                continue
            try:
                async with asyncio.timeout(_FORWARD_TIMEOUT):
                    found = await answer
                    cut = len(found) > 2 and found[2] & 0x02
                    return await self._ask_whole(upstream, data) if whole and cut else found
            except (TimeoutError, OSError, asyncio.IncompleteReadError) as error:
                self._log.debug("name server %s did not answer: %s", upstream, error or "timeout")
            finally:
                transport.close()
        return _failure(request)

    async def _ask_whole(self, upstream: str, data: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(upstream, self._upstream_port)
        try:
            writer.write(struct.pack("!H", len(data)) + data)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            return await reader.readexactly(length)
        finally:
            writer.close()


def _key(request: DNSRecord) -> tuple[int, str, int]:
    return int(request.header.id), str(request.q.qname).lower(), int(request.q.qtype)


def _failure(request: DNSRecord, code: int = RCODE.SERVFAIL) -> bytes:
    reply = request.reply(ra=1, aa=0)
    reply.header.rcode = code
    return bytes(reply.pack())


def _edns(request: DNSRecord) -> RR | None:
    return next((extra for extra in request.ar if extra.rtype == QTYPE.OPT), None)


def _udp_limit(request: DNSRecord) -> int:
    """What the client said it can take (EDNS), else what the first DNS standard allows."""
    extra = _edns(request)
    return 512 if extra is None else max(512, min(int(extra.rclass), _OUR_UDP_SIZE))
