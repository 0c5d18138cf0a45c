"""Which network namespace a process is in: ours, and that of a sandbox that goes over to the node's."""

import asyncio
import os
from pathlib import Path


def same_network(one: str, other: str) -> bool:
    try:
        return os.stat(one).st_ino == os.stat(other).st_ino
    except OSError:
        return False


def own_namespace() -> str:
    """The path of the network namespace we run in; "" if it is the machine's, where the engine is too."""
    mine = "/proc/self/ns/net"
    if same_network(mine, "/proc/1/ns/net"):
        return ""
    named = next((str(path) for path in Path("/run/netns").glob("*") if same_network(mine, str(path))), "")
    return named or f"/proc/{os.getpid()}/ns/net"


async def enters(pid: int, namespace: str, *, within: float) -> bool:
    """Waits until the process is in that network."""
    end = asyncio.get_running_loop().time() + within
    while not await asyncio.to_thread(same_network, f"/proc/{pid}/ns/net", namespace):
        if asyncio.get_running_loop().time() > end:
            return False
        await asyncio.sleep(0.01)
    return True
