"""A network namespace behind one cable: a veth pair that a test takes down and up again."""

from __future__ import annotations

import os
import subprocess


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class FarPlace:
    """Addresses are of a /30 of its own; the machine's end is `near`, the namespace's `far`."""

    def __init__(self, number: int = 0) -> None:
        mark = os.getpid() % 16_000 * 4 + number
        self.name = f"blows-{mark}"
        self._near_end, self._far_end = f"bn{mark}", f"bf{mark}"
        base = f"10.231.{mark // 4 // 64 % 256}.{mark // 4 % 64 * 4}"
        head, _, last = base.rpartition(".")
        self.near, self.far = f"{head}.{int(last) + 1}", f"{head}.{int(last) + 2}"

    def make(self) -> None:
        _ip("netns", "add", self.name)
        _ip("link", "add", self._near_end, "type", "veth", "peer", "name", self._far_end, "netns", self.name)
        _ip("address", "add", f"{self.near}/30", "dev", self._near_end)
        _ip("link", "set", self._near_end, "up")
        _ip("-n", self.name, "address", "add", f"{self.far}/30", "dev", self._far_end)
        _ip("-n", self.name, "link", "set", self._far_end, "up")
        _ip("-n", self.name, "link", "set", "lo", "up")

    def cut(self) -> None:
        _ip("link", "set", self._near_end, "down")

    def mend(self) -> None:
        _ip("link", "set", self._near_end, "up")

    def remove(self) -> None:
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "delete", self._near_end], check=False, capture_output=True)
