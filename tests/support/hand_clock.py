"""A clock whose monotonic time nothing moves but the test."""

from __future__ import annotations

from kubeapi.clock import SystemClock


class HandClock(SystemClock):
    def __init__(self, at: float = 0.0) -> None:
        """Seconds."""
        self.at = at

    def monotonic(self) -> float:
        return self.at
