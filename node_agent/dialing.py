"""Connections into a pod: by its address, or from inside its network namespace for what listens on loopback only."""

import asyncio
import ctypes
import errno
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CLONE_NEWNET = 0x40000000


class Dialer(Protocol):
    async def dial(self, pid: int, host: str, port: int) -> Streams:
        """Connects to host:port as a process in the network namespace of `pid` would. Raises OSError."""
        ...


class PlainDialer:
    """From where the agent stands: enough where pods have no network namespace of their own."""

    async def dial(self, pid: int, host: str, port: int) -> Streams:
        return await asyncio.open_connection(host, port)


class NowhereDialer:
    """For hollow pods: nothing listens in them, and what listens on the agent's own machine is not theirs."""

    async def dial(self, pid: int, host: str, port: int) -> Streams:
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


class NamespaceDialer:
    """Makes the socket in a thread that enters the pod's namespace for that moment; the connection stays there."""

    def __init__(self, threads: int = 4) -> None:
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="netns-dial")

    async def dial(self, pid: int, host: str, port: int) -> Streams:
        loop = asyncio.get_running_loop()
        sock = await loop.run_in_executor(self._threads, inside, pid, make_socket) if pid else make_socket()
        try:
            await loop.sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return await asyncio.open_connection(sock=sock)

    def close(self) -> None:
        self._threads.shutdown(wait=False)


def make_socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def inside(pid: int, work: Callable[[], socket.socket]) -> socket.socket:
    """Runs `work` with this thread in the network namespace of process `pid`, and comes back."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
        try:
            _enter(libc, there)
        finally:
            os.close(there)
        try:
            return work()
        finally:
            _enter(libc, home)
    finally:
        os.close(home)


def _enter(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
