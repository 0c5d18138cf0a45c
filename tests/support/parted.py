"""Members of a cluster that one can part from each other, while clients still reach each of them.

    this machine ──cable── member 1 ──cable──┐
    this machine ──cable── member 2 ──cable── switch      parting a member takes its cable to the switch down
    this machine ──cable── member 3 ──cable──┘

Two members are parted from each other alone, while both reach the third, by routes that lead nowhere. Each member, and the
switch, is a network namespace of its own; no packet filter is touched.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass

_SWITCH = "br0"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@dataclass(frozen=True, slots=True)
class Place:
    name: str
    """Of the network namespace."""
    client: str
    """The address by which this machine reaches it."""
    peer: str
    """The address by which the others do."""


class Places:
    def __init__(self, count: int) -> None:
        self._mark = os.getpid() % 5_000
        self._switch = f"parted-{self._mark}-s"
        self.all = [Place(f"parted-{self._mark}-{i}", self._address(i, 2), f"10.233.0.{i + 1}") for i in range(count)]

    def _address(self, i: int, host: int) -> str:
        """Of the /30 between this machine (host 1) and the member (host 2)."""
        number = (self._mark * 3 + i) * 4 + host
        return f"10.232.{number // 256}.{number % 256}"

    def _near(self, i: int) -> str:
        return f"pt{self._mark}-{i}"

    def make(self) -> None:
        _ip("netns", "add", self._switch)
        _ip("-n", self._switch, "link", "add", _SWITCH, "type", "bridge")
        _ip("-n", self._switch, "link", "set", _SWITCH, "up")
        for i, place in enumerate(self.all):
            inside, near = ("-n", place.name), self._near(i)
            _ip("netns", "add", place.name)
            _ip(*inside, "link", "set", "lo", "up")
            _ip("link", "add", near, "type", "veth", "peer", "name", "clients", "netns", place.name)
            _ip("address", "add", f"{self._address(i, 1)}/30", "dev", near)
            _ip("link", "set", near, "up")
            _ip(*inside, "address", "add", f"{place.client}/30", "dev", "clients")
            _ip(*inside, "link", "set", "clients", "up")
            _ip(*inside, "link", "add", "peers", "type", "veth", "peer", "name", f"member-{i}", "netns", self._switch)
            _ip(*inside, "address", "add", f"{place.peer}/24", "dev", "peers")
            _ip(*inside, "link", "set", "peers", "up")
            _ip("-n", self._switch, "link", "set", f"member-{i}", "master", _SWITCH, "up")

    def part(self, i: int) -> None:
        _ip("-n", self._switch, "link", "set", f"member-{i}", "down")

    def mend(self, i: int) -> None:
        _ip("-n", self._switch, "link", "set", f"member-{i}", "up")

    def part_two(self, i: int, j: int) -> None:
        self._ways("add", i, j)

    def mend_two(self, i: int, j: int) -> None:
        self._ways("delete", i, j)

    def _ways(self, verb: str, i: int, j: int) -> None:
        for here, there in ((i, j), (j, i)):
            _ip("-n", self.all[here].name, "route", verb, "blackhole", f"{self.all[there].peer}/32")

    def remove(self) -> None:
        for i, place in enumerate(self.all):
            subprocess.run(["ip", "netns", "delete", place.name], check=False, capture_output=True)
            subprocess.run(["ip", "link", "delete", self._near(i)], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "delete", self._switch], check=False, capture_output=True)
