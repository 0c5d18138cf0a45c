"""When a node counts as ready."""

from datetime import UTC, datetime
from typing import Any

import pytest

from sampan.cluster_probe import is_ready

START = datetime(2026, 1, 1, 12, 0, 0, 700_000, tzinfo=UTC)


def node(status: str, heartbeat: str | None) -> dict[str, Any]:
    told = {"lastHeartbeatTime": heartbeat} if heartbeat else {}
    return {
        "status": {
            "conditions": [{"type": "DiskPressure", "status": "False"}, {"type": "Ready", "status": status} | told]
        }
    }


@pytest.mark.parametrize(
    ("seen", "now", "since_start"),
    [
        (node("True", "2026-01-01T12:00:00Z"), True, True),
        (node("True", "2026-01-01T12:00:05Z"), True, True),
        (node("True", "2026-01-01T11:59:59Z"), True, False),
        (node("True", None), True, False),
        (node("Unknown", "2026-01-01T12:00:05Z"), False, False),
        ({}, False, False),
    ],
)
def test_a_cluster_that_starts_again_does_not_believe_what_its_store_remembers(
    seen: dict[str, Any], now: bool, since_start: bool
) -> None:
    assert is_ready(seen) is now
    assert is_ready(seen, START) is since_start
