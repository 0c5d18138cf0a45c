"""Ports for servers of the tests' own: none that the system could give to an outgoing connection before its owner listens,
or while it is dead."""

from __future__ import annotations

import socket
from random import Random, SystemRandom

BELOW_EPHEMERAL = (21_000, 30_000)
"""And below the ports that services get on nodes."""


def free_port(rng: Random, taken: set[int]) -> int:
    """None of those taken; it is one of them then."""
    while True:
        port = rng.randrange(*BELOW_EPHEMERAL)
        if port in taken:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        taken.add(port)
        return port


def free_ports(count: int) -> list[int]:
    """Of chance, since several tests look for some at the same time."""
    rng, taken = SystemRandom(), set[int]()
    return [free_port(rng, taken) for _ in range(count)]
