"""Which part of the cluster's pod network a node gets: the first /24 that no node has."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

NODE_PREFIX = 24


def next_cidr(cluster_cidr: str, taken: Iterable[str], prefix: int = NODE_PREFIX) -> str | None:
    """None when the cluster's network is used up.

    A node that has been deleted gives its part back; the first free one is taken, so that a network of 256 parts
    serves any number of nodes that come and go.
    """
    used = {network for cidr in taken if (network := _network(cidr)) is not None}
    for candidate in ipaddress.ip_network(cluster_cidr).subnets(new_prefix=prefix):
        if not any(candidate.overlaps(other) for other in used if other.version == candidate.version):
            return str(candidate)
    return None


def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """None for what is none: one node's mistake is not to leave all others without a network."""
    try:
        return ipaddress.ip_network(cidr)
    except ValueError:
        return None
