"""The zone is a pure function; the server is asked over real loopback sockets."""

import asyncio
import socket
import struct
from random import Random

import pytest
from dnslib import EDNS0, QTYPE, RCODE, DNSRecord

from node_agent.network.dns import DnsServer, Zone, upstreams

RECORDS = {
    "web.default.svc.cluster.local": ["10.96.0.20"],
    "db.default.svc.cluster.local": ["10.244.1.2", "10.244.2.2"],
    "db-0.db.default.svc.cluster.local": ["10.244.1.2"],
    "_http._tcp.web.default.svc.cluster.local": ["80 web.default.svc.cluster.local"],
    "mirror.default.svc.cluster.local": ["web.default.svc.cluster.local"],
}


def ask(name: str, kind: str = "A") -> DNSRecord | None:
    return Zone("cluster.local", RECORDS, Random(1)).answer(DNSRecord.question(name, kind))


def values(reply: DNSRecord | None) -> list[str]:
    assert reply is not None
    return sorted(str(record.rdata) for record in reply.rr)


@pytest.mark.parametrize(
    ("name", "kind", "answers"),
    [
        ("web.default.svc.cluster.local", "A", ["10.96.0.20"]),
        ("WEB.Default.svc.cluster.local.", "A", ["10.96.0.20"]),
        ("db.default.svc.cluster.local", "A", ["10.244.1.2", "10.244.2.2"]),
        ("web.default.svc.cluster.local", "AAAA", []),
        ("default.svc.cluster.local", "A", []),
        ("_http._tcp.web.default.svc.cluster.local", "SRV", ["0 100 80 web.default.svc.cluster.local."]),
        ("2.1.244.10.in-addr.arpa", "PTR", ["db-0.db.default.svc.cluster.local."]),
        ("10-244-1-2.default.pod.cluster.local", "A", ["10.244.1.2"]),
        ("10-244-1-2.default.pod.cluster.local", "AAAA", []),
        ("mirror.default.svc.cluster.local", "CNAME", ["web.default.svc.cluster.local."]),
        ("mirror.default.svc.cluster.local", "A", ["10.96.0.20", "web.default.svc.cluster.local."]),
    ],
)
def test_a_known_name_is_answered_without_error(name: str, kind: str, answers: list[str]) -> None:
    reply = ask(name, kind)
    assert values(reply) == answers
    assert reply is not None and reply.header.rcode == RCODE.NOERROR


def test_an_unknown_name_of_the_cluster_does_not_exist_and_says_for_how_long() -> None:
    reply = ask("nothing.default.svc.cluster.local")
    assert reply is not None
    assert reply.header.rcode == RCODE.NXDOMAIN
    assert [QTYPE[record.rtype] for record in reply.auth] == ["SOA"]


@pytest.mark.parametrize("name", ["10-244-1-999.default.pod.cluster.local", "x.default.pod.cluster.local"])
def test_what_is_no_address_is_no_pod(name: str) -> None:
    reply = ask(name)
    assert reply is not None and reply.header.rcode == RCODE.NXDOMAIN


def test_the_rest_of_the_world_is_not_ours() -> None:
    assert ask("example.org") is None
    assert ask("notcluster.local") is None


def test_upstreams_leave_out_ourselves() -> None:
    text = "search x\nnameserver 10.96.0.10\nnameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.1\n#nameserver 192.0.2.2\nnameserver\n"
    assert upstreams(text, ours=["10.96.0.10"]) == ["192.0.2.1"]


class Asker(asyncio.DatagramProtocol):
    def __init__(self, data: bytes, answer: asyncio.Future[bytes]) -> None:
        self._data, self._answer = data, answer

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        transport.sendto(self._data)

    def datagram_received(self, data: bytes, addr: object) -> None:
        self._answer.set_result(data)


async def over_udp(port: int, question: DNSRecord) -> DNSRecord:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: Asker(question.pack(), answer), remote_addr=("127.0.0.1", port), family=socket.AF_INET
    )
    try:
        return DNSRecord.parse(await answer)
    finally:
        transport.close()


async def over_tcp(port: int, question: DNSRecord) -> DNSRecord:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = question.pack()
    writer.write(struct.pack("!H", len(data)) + data)
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    reply = DNSRecord.parse(await reader.readexactly(length))
    writer.close()
    await writer.wait_closed()
    return reply


async def test_a_long_answer_is_cut_over_udp_and_whole_over_tcp() -> None:
    server = DnsServer(domain="cluster.local", upstreams=[], random=Random(1))
    server.set_records({"many.cluster.local": [f"10.1.{n // 200}.{n % 200}" for n in range(300)]})
    await server.start(["127.0.0.1"], port=0)
    question = DNSRecord.question("many.cluster.local")
    short = await over_udp(server.udp_port, question)
    assert (short.header.tc, short.q.qname) == (1, question.q.qname), "resolvers compare the question"
    assert 20 < len(short.rr) < 31 and len(short.pack()) <= 512
    assert len((await over_tcp(server.tcp_port, question)).rr) == 300
    await server.close()


async def test_without_name_servers_the_world_fails_at_once_and_garbage_is_dropped() -> None:
    server = DnsServer(domain="cluster.local", upstreams=[], random=Random(1))
    await server.start(["127.0.0.1"], port=0)
    server.datagram(b"\xff" * 7, ("127.0.0.1", 9), None)
    reply = await over_udp(server.udp_port, DNSRecord.question("example.org"))
    assert reply.header.rcode == RCODE.SERVFAIL
    await server.close()


async def test_the_world_is_asked_and_an_alias_is_followed_out_of_the_cluster() -> None:
    world = DnsServer(domain="example.org", upstreams=[], random=Random(1))
    world.set_records({"www.example.org": ["192.0.2.7"]})
    await world.start(["127.0.0.1"], port=0)
    ours = DnsServer(domain="cluster.local", upstreams=["127.0.0.1"], upstream_port=world.udp_port, random=Random(2))
    ours.set_records({"site.default.svc.cluster.local": ["www.example.org"]})
    await ours.start(["127.0.0.1"], port=0)
    try:
        assert values(await over_udp(ours.udp_port, DNSRecord.question("www.example.org"))) == ["192.0.2.7"]
        question = DNSRecord.question("site.default.svc.cluster.local")
        for ask_over, port in ((over_udp, ours.udp_port), (over_tcp, ours.tcp_port)):
            assert values(await ask_over(port, question)) == ["192.0.2.7", "www.example.org."]
    finally:
        await ours.close()
        await world.close()


async def test_extended_dns_takes_more_over_udp_and_says_what_we_take() -> None:
    server = DnsServer(domain="cluster.local", upstreams=[], random=Random(1))
    server.set_records({"many.cluster.local": [f"10.1.0.{n}" for n in range(60)]})
    await server.start(["127.0.0.1"], port=0)
    question = DNSRecord.question("many.cluster.local")
    assert (await over_udp(server.udp_port, question)).header.tc == 1
    question.add_ar(EDNS0(udp_len=4096))
    reply = await over_udp(server.udp_port, question)
    assert (reply.header.tc, len(reply.rr)) == (0, 60)
    assert [extra.rclass for extra in reply.ar] == [1232]
    await server.close()


async def test_a_cut_answer_of_the_world_is_fetched_whole_for_a_client_that_can_take_it() -> None:
    addresses = {f"10.1.{n // 200}.{n % 200}" for n in range(300)}
    world = DnsServer(domain="example.org", upstreams=[], random=Random(1))
    world.set_records({"many.example.org": sorted(addresses)})
    for port in range(20000, 20100):  # a name server has one port for both
        try:
            await world.start(["127.0.0.1"], port=port)
            break
        except OSError:
            await world.close()
    ours = DnsServer(domain="cluster.local", upstreams=["127.0.0.1"], upstream_port=world.udp_port, random=Random(2))
    await ours.start(["127.0.0.1"], port=0)
    try:
        question = DNSRecord.question("many.example.org")
        assert (await over_udp(ours.udp_port, question)).header.tc == 1
        assert set(values(await over_tcp(ours.tcp_port, question))) == addresses
    finally:
        await ours.close()
        await world.close()


async def test_a_question_that_comes_back_to_us_fails_at_once() -> None:
    port = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    ours = DnsServer(domain="cluster.local", upstreams=["127.0.0.1"], upstream_port=port, random=Random(2))
    await ours.start(["127.0.0.1"], port=port)
    try:
        async with asyncio.timeout(1.5):  # less than one name server may take
            reply = await over_udp(port, DNSRecord.question("example.org"))
        assert reply.header.rcode == RCODE.SERVFAIL
    finally:
        await ours.close()
