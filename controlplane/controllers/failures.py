"""Pods that fail as soon as they are made: how long until the next one is.

A node may refuse what it cannot run (another operating system, a device that is not there), and does so at once. Whoever
makes the next pod at once, too, makes thousands before a person looks.
"""

from __future__ import annotations

from kubeapi.client.keys import Key
from kubeapi.clock import Clock
from kubeapi.tasks import Backoff

AGAIN = Backoff(first=1.0, most=900.0, jitter=0.0)


class Failures:
    """Of one kind's pods, by owner and place (a node, an ordinal)."""

    _known: dict[Key, dict[str, tuple[int, float]]]
    """Failures in a row, and when the next pod may be made, by the monotonic clock."""

    def __init__(self, clock: Clock, *, free: int = 0) -> None:
        """`free`: so many in a row are replaced at once."""
        self._clock, self._free, self._known = clock, free, {}

    def note(self, owner: Key, place: str) -> None:
        """What was long ago is forgiven."""
        now = self._clock.monotonic()
        at = self._known.setdefault(owner, {})
        count, due = at.get(place, (0, now))
        count = 0 if due + AGAIN.most < now else count
        at[place] = (count + 1, now + (AGAIN.delay(count - self._free, None) if count >= self._free else 0.0))

    def may_start(self, owner: Key, place: str) -> bool:
        return self._known.get(owner, {}).get(place, (0, 0.0))[1] <= self._clock.monotonic()

    def wait(self, owner: Key) -> float | None:
        """Seconds until the first place may have its pod again."""
        now = self._clock.monotonic()
        return min((due - now for _, due in self._known.get(owner, {}).values() if due > now), default=None)

    def forget(self, owner: Key) -> None:
        self._known.pop(owner, None)
