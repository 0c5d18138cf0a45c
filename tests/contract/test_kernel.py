"""The kernel works inside a namespace without a trace in the process that asks."""

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from node_agent.network.errors import NetworkError
from node_agent.network.kernel import NetlinkKernel


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
