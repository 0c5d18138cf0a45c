"""Since when the nodes can be heard. Silence tells something of a node only while it could have spoken.

    our server was away ─┐
    it took no write ────┼──► from now on we listen anew
    no node was heard ───┘    (this last one delays evictions alone: nodes may all be down, and that must be told)

A server that takes no writes is not seen by who writes nothing, and when it takes them again the first may be ours: before
any node has said that it is back. So pods are evicted only where other nodes are heard, and have been for as long as this
one might need. Times are seconds of our own clock.
"""

from __future__ import annotations

from kubeapi.clock import Clock


class Hearing:
    def __init__(self, clock: Clock, grace: float) -> None:
        """`grace`: how long a node may be silent. Its agent speaks four times as often."""
        self._clock, self._grace = clock, grace
        self._since: float | None = None
        self._outages = 0
        self._voice = self._voices = float("-inf")
        """When any node was heard last, and since when one or the other has been all the time."""

    def outages(self, count: int) -> None:
        """How often our server went away and came back, each counted: while it is away the number is odd."""
        if self._since is None or count % 2 or count != self._outages:
            self._since, self._outages = self._clock.monotonic(), count

    def refused(self) -> None:
        """A write of ours. Who takes none from us takes none from the nodes."""
        self._since = self._clock.monotonic()

    def voice(self) -> None:
        """A node gave a sign of life."""
        now = self._clock.monotonic()
        if now - self._voice > self._grace / 2:
            self._voices = now
        self._voice = now

    def seconds(self) -> float:
        """For how long they could be heard, as far as we know of our server."""
        return self._clock.monotonic() - (self._since or 0.0)

    def patience(self) -> float:
        """Seconds until a silent node can have no excuse: from then on its pods may have to leave."""
        now = self._clock.monotonic()
        if now - self._voice > self._grace / 2:
            return self._grace
        return max(0.0, self._grace - min(self.seconds(), now - self._voices))
