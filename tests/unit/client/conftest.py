"""Everything here runs in virtual time: waiting costs nothing, and the seconds can be asserted."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from kubeapi.clock import LoopClock


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "unit/client" in str(item.path):
            item.add_marker(pytest.mark.looptime)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


@pytest.fixture
def clock() -> Iterator[LoopClock]:
    yield LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
