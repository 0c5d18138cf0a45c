"""Names as a program in a pod sees them: the machine's C library, a pod's resolv.conf, the node's server in its own
network namespace.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node_agent.pod_files import resolv_conf
from tests.unit.node_agent.pods import pod

pytestmark = [pytest.mark.netns, pytest.mark.timeout(30)]

NODE = """
import asyncio, sys
from pathlib import Path
from random import Random
from node_agent.network.pod_network import linux_pod_network

async def main():
    network = linux_pod_network(
        node_address="172.31.78.1", pod_cidr="10.244.1.0/24", cluster_cidr="10.244.0.0/16", dns_address="10.96.0.10",
        domain="cluster.local", random=Random(1), resolv_conf=Path("/nonexistent"),
    )
    await network.setup()
    await network.set_dns({
        "web.default.svc.cluster.local": ["10.96.0.20"],
        "db.other.svc.cluster.local": ["10.244.1.7", "10.244.1.8"],
        "db-0.db.other.svc.cluster.local": ["10.244.1.7"],
        "alias.default.svc.cluster.local": ["db.other.svc.cluster.local"],
        "big.default.svc.cluster.local": [f"10.244.{n // 200}.{n % 200 + 1}" for n in range(400)],
    })
    print(await network.attach("uid-1", int(sys.argv[1])), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def sh(*command: str) -> tuple[int, str]:
    made = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _ = await made.communicate()
    return made.returncode or 0, out.decode()


class Inside:
    def __init__(self, pid: int, resolv: Path) -> None:
        self._pid, self._resolv = pid, resolv

    async def getent(self, *words: str) -> tuple[int, list[str]]:
        bind = f"mount --bind {self._resolv} /etc/resolv.conf && exec getent {' '.join(words)}"
        code, out = await sh("nsenter", f"--net=/proc/{self._pid}/ns/net", "unshare", "-m", "sh", "-c", bind)
        return code, sorted({line.split()[0] for line in out.splitlines() if line.strip()})

    async def name_of(self, address: str) -> str:
        bind = f"mount --bind {self._resolv} /etc/resolv.conf && exec getent hosts {address}"
        _, out = await sh("nsenter", f"--net=/proc/{self._pid}/ns/net", "unshare", "-m", "sh", "-c", bind)
        return out.split()[1] if len(out.split()) > 1 else out


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    space = f"sampant-dns-{os.getpid()}"
    await sh("ip", "netns", "add", space)
    await sh("ip", "-n", space, "link", "set", "lo", "up")
    await sh("ip", "-n", space, "addr", "add", "172.31.78.1/32", "dev", "lo")
    process = await asyncio.create_subprocess_exec(
        "unshare", "-n", "sh", "-c", "echo; exec sleep 60", stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    node = await asyncio.create_subprocess_exec(
        "nsenter", f"--net=/run/netns/{space}", sys.executable, "-c", NODE, str(process.pid), stdout=subprocess.PIPE
    )
    try:
        assert node.stdout is not None
        assert (await node.stdout.readline()).strip() == b"10.244.1.2"
        resolv = tmp_path / "resolv.conf"
        resolv.write_text(resolv_conf(pod(), dns_ip="10.96.0.10", domain="cluster.local", host_text=""))
        yield Inside(process.pid, resolv)
    finally:
        for made in (node, process):
            made.kill()
            await made.communicate()
        await sh("ip", "netns", "del", space)


async def test_a_program_in_a_pod_finds_names_by_its_search_path(inside: Inside) -> None:
    assert await inside.getent("ahostsv4", "web") == (0, ["10.96.0.20"]), "the pod's own namespace"
    assert await inside.getent("ahostsv4", "db.other") == (0, ["10.244.1.7", "10.244.1.8"]), "another one's"
    assert await inside.getent("ahostsv4", "db-0.db.other.svc") == (0, ["10.244.1.7"])
    assert await inside.getent("ahostsv4", "web.default.svc.cluster.local.") == (0, ["10.96.0.20"])
    assert await inside.getent("ahostsv4", "alias") == (0, ["10.244.1.7", "10.244.1.8"]), "an external name"
    assert len((await inside.getent("ahostsv4", "big"))[1]) == 400, "cut over UDP, fetched over TCP"
    assert (await inside.getent("ahostsv4", "nothing"))[0] != 0
    assert (await inside.getent("ahostsv6", "web"))[1] in ([], ["::ffff:10.96.0.20"]), "no IPv6, and no waiting for it"
    assert await inside.name_of("10.244.1.7") == "db-0.db.other.svc.cluster.local"
    assert await inside.getent("ahostsv4", "10-244-1-7.other.pod.cluster.local") == (0, ["10.244.1.7"])
