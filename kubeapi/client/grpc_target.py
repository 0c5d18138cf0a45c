"""What a gRPC channel is told of the API servers: one address, or several of which any will do.

`HOST:PORT` goes as it is. `ADDRESS:PORT,ADDRESS:PORT` becomes gRPC's own list: one connection, to the first that
answers; when it breaks, the next is tried, and calls go on. Names in such a list are looked up once, here.

A server of a list is known by the name that all of them bear, SERVER_NAME, since gRPC cannot tell which of the
addresses it reached when it compares the certificate.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence

SERVER_NAME = "kubernetes.default.svc"
"""In the certificate of every API server of every cluster."""


def target(addresses: str) -> tuple[str, Sequence[tuple[str, str]]]:
    """The channel's target, and its further options. Blocking only where a list holds names.

    Raises ValueError for a list that gRPC could not use, OSError when no name of it is known.
    """
    several = [address.strip() for address in addresses.split(",") if address.strip()]
    if len(several) < 2:
        return addresses, ()
    found = [known for address in several if (known := _numeric(address))]
    if not found:
        raise OSError(f"no host of {addresses} is known")
    return f"ipv4:{','.join(found)}", (("grpc.ssl_target_name_override", SERVER_NAME),)


def _numeric(address: str) -> str:
    """Empty for a name that nobody knows: the others may do."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or not host:
        raise ValueError(f"{address!r} is not host:port; of several API servers each needs both")
    try:
        return f"{ipaddress.IPv4Address(host)}:{port}"
    except ValueError:
        pass
    try:
        return f"{socket.gethostbyname(host)}:{port}"
    except OSError:
        return ""
