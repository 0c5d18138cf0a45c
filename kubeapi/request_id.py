"""One id follows a request: from a client (or from the API server, where the client names none) to a node and its logs.

    client ── Audit-ID / sampan-request-id ──► API server ── sampan-request-id ──► node's agent
           ◄── the same id, in the response ──

Over HTTP it is Kubernetes' own header. Within a process it is a context variable, which log lines carry (kubeapi.logs).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Protocol

HEADER = "Audit-ID"
METADATA = "sampan-request-id"
"""The key in gRPC's metadata, both ways."""
LONGEST = 64
_GOOD = re.compile(r"[A-Za-z0-9._:-]{1,64}")

current: ContextVar[str] = ContextVar("request id", default="")
"""Of the request that is being served; empty outside of one."""


class Chance(Protocol):
    def getrandbits(self, k: int, /) -> int: ...


def fresh(chance: int) -> str:
    """Of 128 bits of chance, in a form like a UUID's."""
    text = f"{chance:032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


class Ids:
    """Ids like UUIDs, of which a server makes thousands a second: a random part of its own, and a number that rises."""

    def __init__(self, rng: Chance) -> None:
        self._prefix = fresh(rng.getrandbits(128))[:24]
        self._numbers = itertools.count(rng.getrandbits(40))

    def given_or_new(self, given: str) -> str:
        """What a client calls its request, if it could be an id: nothing that breaks a line of a log."""
        if given and _GOOD.fullmatch(given):
            return given
        return f"{self._prefix}{next(self._numbers) & 0xFFFFFFFFFFFF:012x}"


def outgoing() -> tuple[tuple[str, str], ...]:
    """Metadata for a call made on behalf of the request that is being served."""
    given = current.get()
    return ((METADATA, given),) if given else ()


def incoming(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    for key, value in metadata or ():
        if key == METADATA:
            return str(value)
    return ""
