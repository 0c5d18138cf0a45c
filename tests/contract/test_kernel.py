"""The kernel works inside a namespace without a trace in the process that asks."""

import asyncio
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.network.errors import NetworkError
from node_agent.network.kernel import Link, NetlinkKernel, Route


@pytest.fixture
def namespace() -> Iterator[str]:
    name = f"sampant-kernel-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    yield f"/run/netns/{name}"
    subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.mark.netns
async def test_looking_into_a_namespace_sends_this_process_no_signal(namespace: str) -> None:
    loop, signals, here = asyncio.get_running_loop(), list[str](), os.stat("/proc/self/ns/net").st_ino
    loop.add_signal_handler(signal.SIGTERM, lambda: signals.append("TERM"))
    try:
        kernel = NetlinkKernel(namespace)
        for _ in range(20):
            links = await asyncio.to_thread(kernel.links)
        assert [link.name for link in links] == ["lo"]
        # The loop reads its signal pipe in the turn after the last call.
        await asyncio.to_thread(lambda: None)
        assert signals == []
        assert os.stat("/proc/self/ns/net").st_ino == here
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


@pytest.mark.netns
def test_nothing_here_forks_a_process_full_of_threads(namespace: str) -> None:
    """gRPC cannot be forked, and complains of it: commands are started without (vfork), namespaces entered by threads."""
    forks: list[int] = []
    os.register_at_fork(before=lambda: forks.append(1))
    kernel = NetlinkKernel(namespace)
    kernel.links()
    kernel.udp_flows()
    kernel.nft("add table ip sampant\ndelete table ip sampant\n")
    kernel.set_sysctl("net/ipv4/ip_forward", "1")
    assert forks == []


@pytest.mark.netns
def test_a_namespace_that_is_gone_is_named(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(NetworkError, match=str(gone)):
        NetlinkKernel(str(gone)).links()


@pytest.mark.netns
def test_what_is_set_is_read_back_and_set_again_without_harm(namespace: str) -> None:
    kernel = NetlinkKernel(namespace)

    def index(name: str) -> int:
        return kernel.enter(lambda: socket.if_nametoindex(name))

    for _ in range(2):
        kernel.ensure_bridge("b0", mac="0e:00:00:00:00:01", mtu=1400)
        kernel.ensure_vxlan("v0", vni=7, port=8472, local="192.0.2.1", mac="0e:00:00:00:00:02", mtu=1400)
        kernel.ensure_addresses("b0", ["10.1.0.1/24", "10.96.0.10/32"])
        kernel.ensure_addresses("v0", ["10.1.1.0/32"])
        kernel.ensure_neighbour("v0", "10.1.2.0", "0e:00:00:00:00:03")
        kernel.ensure_forwarding("v0", "0e:00:00:00:00:03", "192.0.2.9")
        kernel.ensure_route(Route("10.1.2.0/24", via="10.1.2.0", device="v0", onlink=True))
        kernel.set_alias("b0", "a bridge")
    links = {link.name: link for link in kernel.links()}
    assert links["b0"] == Link("b0", mac="0e:00:00:00:00:01", mtu=1400, up=True, alias="a bridge")
    assert kernel.has_link("v0") and not kernel.has_link("v1")
    assert kernel.neighbours("v0") == {"10.1.2.0": "0e:00:00:00:00:03"}
    assert kernel.forwardings("v0") == {"0e:00:00:00:00:03": "192.0.2.9"}
    assert kernel.routes("v0") == [Route("10.1.2.0/24", via="10.1.2.0", device="v0", onlink=True)]
    told = subprocess.run(
        ["nsenter", f"--net={namespace}", "ip", "-d", "addr"], check=True, capture_output=True, text=True
    ).stdout
    for word in ("inet 10.1.0.1/24", "inet 10.96.0.10/32", "vxlan id 7 local 192.0.2.1", "dstport 8472 nolearning"):
        assert word in told, told

    kernel.ensure_addresses("b0", ["10.1.0.1/24"])
    first = index("v0")
    kernel.ensure_vxlan("v0", vni=7, port=8472, local="192.0.2.1", mac="0e:00:00:00:00:02", mtu=1400)
    assert index("v0") == first
    for _ in range(2):
        kernel.delete_route(Route("10.1.2.0/24", via="10.1.2.0", device="v0", onlink=True))
        kernel.delete_forwarding("v0", "0e:00:00:00:00:03", "192.0.2.9")
        kernel.delete_neighbour("v0", "10.1.2.0")
    assert (kernel.routes("v0"), kernel.forwardings("v0"), kernel.neighbours("v0")) == ([], {}, {})
    kernel.ensure_vxlan("v0", vni=8, port=8472, local="192.0.2.1", mac="0e:00:00:00:00:02", mtu=1400)
    assert index("v0") != first
    for _ in range(2):
        kernel.delete_link("b0")
    assert not kernel.has_link("b0")


@pytest.mark.netns
def test_a_refusal_says_why(namespace: str) -> None:
    kernel = NetlinkKernel(namespace)
    with pytest.raises(NetworkError, match="no network device nothing"):
        kernel.ensure_addresses("nothing", ["10.1.0.1/24"])
    with pytest.raises(NetworkError, match="EADDRNOTAVAIL"):
        kernel.ensure_bridge("b0", mac="01:00:00:00:00:01", mtu=1400)  # a group address


@pytest.mark.netns
def test_more_links_than_one_answer_holds_are_all_listed(namespace: str) -> None:
    script = "".join(f"link add v{n} type veth peer name w{n}\n" for n in range(150))
    command = ["nsenter", f"--net={namespace}", "ip", "-batch", "-"]
    subprocess.run(command, input=script, check=True, text=True)
    assert len(NetlinkKernel(namespace).links()) == 301
