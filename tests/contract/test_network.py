"""What every pod network promises: on the fake kernel, and (marker netns) on Linux with two nodes in
namespaces.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from random import Random

import pytest

from node_agent.network.dns import DnsServer
from node_agent.network.errors import NetworkError
from node_agent.network.fake_kernel import FakeKernel
from node_agent.network.interface import Attachment, Peer, ServicePort
from node_agent.network.kernel import Flow, NetlinkKernel
from node_agent.network.pod_network import NodePodNetwork
from tests.contract.network_worlds import ADDRESSES, CIDRS, FakeWorld, LinuxWorld, sh


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.netns)])
def world(request: pytest.FixtureRequest) -> Iterator[FakeWorld | LinuxWorld]:
    world = FakeWorld() if request.param == "fake" else LinuxWorld()
    yield world
    world.close()


@pytest.fixture
def linux() -> Iterator[LinuxWorld]:
    world = LinuxWorld()
    yield world
    world.close()


def network(world: FakeWorld | LinuxWorld, node: int) -> NodePodNetwork:
    return NodePodNetwork(kernel=world.kernel(node), dns=None, node_address=ADDRESSES[node], pod_cidr=CIDRS[node])


@dataclass
class Nodes:
    world: FakeWorld | LinuxWorld
    networks: list[NodePodNetwork]


@pytest.fixture
async def nodes(world: FakeWorld | LinuxWorld) -> AsyncIterator[Nodes]:
    made = Nodes(world, [network(world, 0), network(world, 1)])
    for item in made.networks:
        await item.setup()
    yield made
    for item in made.networks:
        await item.teardown()


async def test_a_pod_gets_an_address_of_the_nodes_range_and_keeps_it(nodes: Nodes) -> None:
    pid = nodes.world.process(0)
    ip = await nodes.networks[0].attach("uid-1", pid)
    assert ip == "10.244.1.2"
    assert await nodes.networks[0].attach("uid-1", pid) == ip
    assert await asyncio.to_thread(nodes.world.kernel(0).pod_address, pid) == ip


async def test_a_new_sandbox_of_the_same_pod_gets_the_same_address(nodes: Nodes) -> None:
    first, second = nodes.world.process(0), nodes.world.process(0)
    ip = await nodes.networks[0].attach("uid-1", first)
    await nodes.networks[0].attach("uid-2", nodes.world.process(0))
    assert await nodes.networks[0].attach("uid-1", second) == ip
    assert await asyncio.to_thread(nodes.world.kernel(0).pod_address, second) == ip


async def test_attachments_are_known_after_a_restart_and_their_addresses_not_given_twice(
    nodes: Nodes,
) -> None:
    await nodes.networks[0].attach("uid-1", nodes.world.process(0), host_ports=[("TCP", 8080, 80)])
    again = network(nodes.world, 0)
    mac = await again.setup()
    assert mac == await nodes.networks[0].setup()
    assert await again.attachments() == [Attachment("uid-1", "10.244.1.2")]
    assert await again.attach("uid-2", nodes.world.process(0)) == "10.244.1.3"
    with pytest.raises(NetworkError, match="host port 8080"):
        await again.attach("uid-3", nodes.world.process(0), host_ports=[("TCP", 8080, 80)])


async def test_a_node_given_another_range_keeps_nothing_of_the_old_one(nodes: Nodes) -> None:
    """It joined a new cluster after the old one was killed: its devices are still there, with the old addresses."""
    pid, kernel = nodes.world.process(0), nodes.world.kernel(0)
    await nodes.networks[0].attach("uid-1", pid)
    moved = NodePodNetwork(kernel=kernel, dns=None, node_address=ADDRESSES[0], pod_cidr="10.244.9.0/24")
    mac = await moved.setup()
    assert {link.mac for link in await asyncio.to_thread(kernel.links) if link.name == "sampan-vx"} == {mac}
    await moved.set_peers([Peer("c", CIDRS[0], "172.31.77.13", "0e:00:00:00:00:03")])
    assert [route.destination for route in await asyncio.to_thread(kernel.routes, "sampan-vx")] == [CIDRS[0]]
    assert await moved.attach("uid-1", pid) == "10.244.9.2"
    assert await asyncio.to_thread(kernel.pod_address, pid) == "10.244.9.2"


async def test_detach_frees_the_address_twice_is_fine(nodes: Nodes) -> None:
    await nodes.networks[0].attach("uid-1", nodes.world.process(0))
    await nodes.networks[0].detach("uid-1")
    await nodes.networks[0].detach("uid-1")
    assert await nodes.networks[0].attachments() == []


async def test_a_dead_process_is_an_error_that_says_so_and_leaves_nothing(nodes: Nodes) -> None:
    pid = nodes.world.process(0)
    nodes.world.end(0, pid)
    with pytest.raises(NetworkError):
        await nodes.networks[0].attach("uid-1", pid)
    assert await nodes.networks[0].attachments() == []


async def test_peers_are_replaced_and_removed(nodes: Nodes) -> None:
    overlay, kernel = nodes.networks[0], nodes.world.kernel(0)
    peer = Peer("b", CIDRS[1], ADDRESSES[1], "0e:00:00:00:00:02")
    own = Peer("a", CIDRS[0], ADDRESSES[0], "0e:00:00:00:00:01")
    await overlay.set_peers([own, peer])
    await overlay.set_peers([own, peer])
    assert (await asyncio.to_thread(kernel.forwardings, "sampan-vx")) == {peer.mac: peer.address}
    assert (await asyncio.to_thread(kernel.neighbours, "sampan-vx")) == {"10.244.2.0": peer.mac}
    await overlay.set_peers([own, Peer("b", CIDRS[1], "172.31.77.99", peer.mac)])
    assert (await asyncio.to_thread(kernel.forwardings, "sampan-vx")) == {peer.mac: "172.31.77.99"}
    assert [route.destination for route in (await asyncio.to_thread(kernel.routes, "sampan-vx"))] == [CIDRS[1]]
    await overlay.set_peers([own])
    assert (
        (await asyncio.to_thread(kernel.forwardings, "sampan-vx")),
        (await asyncio.to_thread(kernel.neighbours, "sampan-vx")),
        (await asyncio.to_thread(kernel.routes, "sampan-vx")),
    ) == (
        {},
        {},
        [],
    )


async def test_services_change_and_teardown_leaves_nothing(nodes: Nodes) -> None:
    item = nodes.networks[0]
    port = ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, [("10.244.1.2", 80), ("10.244.2.2", 80)])
    sticky = ServicePort("d/sticky:http", "tcp", ["10.96.0.21"], 80, 0, [("10.244.1.2", 80)], affinity_seconds=60)
    local = ServicePort(
        "d/local:dns",
        "udp",
        ["10.96.0.22"],
        53,
        30053,
        [("10.244.2.2", 53)],
        local_only=True,
        local_endpoints=[],
    )
    await item.attach("uid-1", nodes.world.process(0), host_ports=[("TCP", 8080, 80)])
    await item.set_services([port, sticky, local])
    await item.set_services([port, sticky, local])
    await item.set_services([ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, []), local])
    await item.detach("uid-1")
    await item.set_services([port])
    await item.teardown()
    names = {link.name for link in await asyncio.to_thread(nodes.world.kernel(0).links)}
    assert not {name for name in names if name.startswith(("pod", "sampan"))}
    if isinstance(nodes.world, LinuxWorld):
        assert sh("ip netns exec sampant-a nft list tables") == ""


async def test_rules_that_somebody_took_away_are_missed_and_come_back(nodes: Nodes) -> None:
    item, world = nodes.networks[0], nodes.world
    port = ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, [("10.244.1.2", 80)])
    await item.set_services([port])
    assert await item.verify()
    if isinstance(world, LinuxWorld):
        await asyncio.to_thread(sh, "ip netns exec sampant-a nft flush ruleset")
    else:
        world.kernels[0].tables.clear()
    assert not await item.verify()
    await item.setup()
    await item.set_services([port])
    assert await item.verify()
    if isinstance(world, LinuxWorld):
        assert "10.96.0.20 . tcp . 80" in await asyncio.to_thread(sh, "ip netns exec sampant-a nft list ruleset")
    else:
        assert "10.96.0.20 . tcp . 80" in world.kernels[0].scripts[-1]


@pytest.mark.netns
async def test_pods_reach_each_other_across_nodes_and_services_by_address_and_node_port(
    linux: LinuxWorld,
) -> None:
    networks = [network(linux, 0), network(linux, 1)]
    macs = [await item.setup() for item in networks]
    peers = [Peer(n, CIDRS[i], ADDRESSES[i], macs[i]) for i, n in enumerate(("a", "b"))]
    pids = [linux.process(0), linux.process(0), linux.process(1)]
    uids = ["client", "near", "far"]
    ips = [await networks[i // 2].attach(uids[i], pids[i]) for i in range(3)]
    both = [(ips[1], 8080), (ips[2], 8080)]
    for item in networks:
        await item.set_peers(peers)
        await item.set_services(
            [
                ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, both),
                ServicePort("d/self:http", "tcp", ["10.96.0.21"], 80, 0, [(ips[1], 8080)]),
                ServicePort("d/none:http", "tcp", ["10.96.0.22"], 80, 30082, []),
                ServicePort("d/sticky:http", "tcp", ["10.96.0.23"], 80, 0, both, affinity_seconds=60),
            ]
        )
    await asyncio.to_thread(linux.serve, pids[1], "near")
    await asyncio.to_thread(linux.serve, pids[2], "far")

    def ask(pid: int, address: str, port: int) -> str:
        return linux.inside(pid, f"busybox nc -w 3 {address} {port}").strip()

    def from_node(node: int, address: str, port: int) -> str:
        return sh(f"ip netns exec {linux.nodes[node]} busybox nc -w 3 {address} {port}").strip()

    def check() -> None:
        assert ask(pids[0], ips[2], 8080) == "far", "pod to pod across nodes"
        assert ask(pids[0], ips[1], 8080) == "near", "pod to pod on one node"
        assert {ask(pids[0], "10.96.0.20", 80) for _ in range(24)} == {"near", "far"}, "balanced over both"
        assert ask(pids[1], "10.96.0.21", 80) == "near", "a pod reaches itself through its service"
        assert len({ask(pids[0], "10.96.0.23", 80) for _ in range(10)}) == 1, "affinity"
        assert {from_node(0, ADDRESSES[1], 30080) for _ in range(24)} == {"near", "far"}, "node port from outside"
        assert {from_node(0, "10.96.0.20", 80) for _ in range(24)} == {"near", "far"}, "service from the node itself"
        refused = "nsenter --net=/proc/%d/ns/net timeout 2 busybox nc -w 5 %s %d; echo $?"
        assert sh(refused % (pids[0], "10.96.0.22", 80)).strip() == "1", "refused at once, not timed out"
        assert sh(refused % (pids[0], ADDRESSES[1], 30082)).strip() == "1"

    await asyncio.to_thread(check)
    for item in networks:
        await item.teardown()


def udp_socket(pid: int, bind: tuple[str, int]) -> socket.socket:
    """In the namespace of process `pid`: a socket stays where it was made."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(bind)
        made.settimeout(5)
        return made

    return NetlinkKernel(f"/proc/{pid}/ns/net").enter(make)


@pytest.mark.netns
async def test_a_udp_client_that_keeps_its_port_leaves_a_vanished_pod(linux: LinuxWorld) -> None:
    item = network(linux, 0)
    await item.setup()
    pids = [linux.process(0) for _ in range(3)]
    ips = [await item.attach(f"uid-{n}", pid) for n, pid in enumerate(pids)]

    def dns(*endpoints: str) -> list[ServicePort]:
        return [ServicePort("d/dns:", "udp", ["10.96.0.20"], 53, 30053, [(ip, 5353) for ip in endpoints])]

    client = udp_socket(pids[0], ("0.0.0.0", 40000))
    servers = [udp_socket(pids[n], ("0.0.0.0", 5353)) for n in (1, 2)]

    def reaches(server: socket.socket, address: tuple[str, int]) -> str:
        client.sendto(b"?", address)
        _, asker = server.recvfrom(10)
        server.sendto(b"!", asker)
        return str(client.recvfrom(10)[1][0])

    try:
        for address in (("10.96.0.20", 53), (ADDRESSES[0], 30053)):
            await item.set_services(dns(ips[1]))
            assert await asyncio.to_thread(reaches, servers[0], address) == address[0]
            await item.set_services(dns(ips[2]))
            assert await asyncio.to_thread(reaches, servers[1], address) == address[0], "tracked to the old pod"
        flows = await asyncio.to_thread(linux.kernel(0).udp_flows)
        assert {flow.answers_from for flow in flows if flow.source == ips[0]} == {ips[2]}
        await item.set_services(dns())
        client.sendto(b"?", ("10.96.0.20", 53))
        client.connect(("10.96.0.20", 53))
        with pytest.raises(ConnectionRefusedError):
            for _ in range(2):
                await asyncio.to_thread(client.send, b"?")
                await asyncio.to_thread(client.recv, 10)
    finally:
        for opened in (client, *servers):
            opened.close()
        await item.teardown()


@pytest.mark.netns
async def test_a_new_sandbox_is_reached_at_once_by_who_knew_the_old_one(linux: LinuxWorld) -> None:
    """The node believes what it learnt of the address for up to a minute."""
    item = network(linux, 0)
    await item.setup()
    for text in ("old", "new"):
        pid = linux.process(0)
        ip = await item.attach("uid-1", pid)
        await asyncio.to_thread(linux.serve, pid, text)
        asked = await asyncio.to_thread(sh, f"ip netns exec {linux.nodes[0]} busybox nc -w 1 {ip} 8080 </dev/null")
        assert asked.strip() == text


@pytest.mark.netns
async def test_host_ports_and_the_local_policies(linux: LinuxWorld) -> None:
    networks = [network(linux, 0), network(linux, 1)]
    macs = [await item.setup() for item in networks]
    pids = [linux.process(0), linux.process(0), linux.process(1)]
    ips = [
        await networks[0].attach("client", pids[0]),
        await networks[0].attach("near", pids[1], host_ports=[("TCP", 8081, 8080)]),
        await networks[1].attach("far", pids[2]),
    ]
    await asyncio.to_thread(linux.serve, pids[1], "near")
    await asyncio.to_thread(linux.serve, pids[2], "far")
    near, far = (ips[1], 8080), (ips[2], 8080)
    for node, item in enumerate(networks):
        await item.set_peers([Peer(n, CIDRS[i], ADDRESSES[i], macs[i]) for i, n in enumerate(("a", "b"))])
        here = [near, far][node : node + 1]
        await item.set_services(
            [
                ServicePort(
                    "d/both:x", "tcp", ["10.96.0.30"], 80, 30080, [near, far], balancer_ips=["192.0.2.80"],
                    local_only=True, local_endpoints=here,
                ),
                ServicePort(
                    "d/far:x", "tcp", ["10.96.0.31"], 80, 30081, [far], local_only=True, internal_local=True,
                    local_endpoints=here if node else [],
                ),
                ServicePort(
                    "d/closed:x", "tcp", ["10.96.0.32"], 80, 0, [far], balancer_ips=["192.0.2.81"],
                    source_ranges=["198.51.100.0/24"],
                ),
            ]
        )  # fmt: skip

    def nc(where: str, address: str, port: int) -> str:
        done = sh(f"nsenter --net={where} timeout 2 busybox nc -w 3 {address} {port} || echo =$?", check=False)
        return done.strip()

    pod, nodes = f"/proc/{pids[0]}/ns/net", [f"/run/netns/{name}" for name in linux.nodes]

    def check() -> None:
        assert nc(nodes[1], ADDRESSES[0], 8081) == "near", "host port from another node"
        assert nc(nodes[0], ADDRESSES[0], 8081) == "near", "host port from the node itself"
        assert nc(pod, ADDRESSES[0], 8081) == "near", "host port from a pod of the node"
        assert nc(f"/proc/{pids[1]}/ns/net", ADDRESSES[0], 8081) == "near", "host port from the pod itself"
        assert nc(nodes[0], "127.0.0.1", 8081) == "=1", "loopback is refused, not left to hang"
        assert {nc(nodes[1], ADDRESSES[0], 30080) for _ in range(12)} == {"near"}, "outside sees local endpoints"
        assert {nc(pod, ADDRESSES[0], 30080) for _ in range(24)} == {"near", "far"}, "a pod is not outside"
        assert {nc(pod, "192.0.2.80", 80) for _ in range(24)} == {"near", "far"}, "a balancer's address, from a pod"
        assert {nc(nodes[1], "10.96.0.31", 80) for _ in range(4)} == {"far"}, "internal policy with a local endpoint"
        assert nc(pod, "10.96.0.31", 80) == "=124", "internal policy without one drops"
        assert nc(nodes[1], ADDRESSES[0], 30081) == "=124", "external policy without a local endpoint drops"
        assert nc(pod, "192.0.2.81", 80) == "=124", "not one of the source ranges"

    await asyncio.to_thread(check)
    for item in networks:
        await item.teardown()


async def test_forgets_udp_flows_only_when_who_answers_has_changed(nodes: Nodes) -> None:
    item, kernel = nodes.networks[0], nodes.world.kernel(0)
    if not isinstance(kernel, FakeKernel):
        pytest.skip("flows of a real kernel come from real packets: see above")
    port = ServicePort("d/dns:", "udp", ["10.96.0.20"], 53, 0, [("10.244.1.2", 53)])
    await item.set_services([port])
    old = Flow("10.244.1.7", 4000, "10.96.0.20", 53, "10.244.1.9", 53)
    kernel.flows = {old}
    await item.set_services([port, ServicePort("d/web:", "tcp", ["10.96.0.21"], 80, 0, [])])
    assert kernel.flows == {old}
    await item.set_services([replace(port, endpoints=[("10.244.1.3", 53)])])
    assert kernel.flows == set()


async def test_dns_server_closes_with_no_queries() -> None:
    server = DnsServer(domain="cluster.local", upstreams=[], random=Random(1))
    await server.start(["127.0.0.1"], port=0)
    await server.close()
