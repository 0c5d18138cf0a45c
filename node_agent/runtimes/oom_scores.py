"""How far this machine lets us protect containers from the out-of-memory killer."""

import logging
from pathlib import Path

_SYS_RESOURCE = 24
"""The capability to go below the score that we have ourselves."""


class OomScores:
    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lowest: int | None = None if _may_lower() else 0
        self._warned = False

    def allowed(self, wanted: int) -> int:
        """As wanted, or as low as we may go; says once that protection is lost."""
        if self._lowest is None or wanted >= self._lowest:
            return wanted
        if not self._warned:
            self._warned = True
            self._log.warning("no SYS_RESOURCE capability: containers get no protection from the out-of-memory killer")
        return self._lowest


def _may_lower() -> bool:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return False
    effective = next((line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), "0")
    return bool(int(effective, 16) >> _SYS_RESOURCE & 1)
