"""Tests that kill, freeze, cut off and fill up. Each prints its seed when it fails; SAMPAN_BLOWS_SEED repeats or varies it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from tests.support.rig import Rig, Size

DEFAULT_SEED = 20261121


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("SAMPAN_BLOWS_SEED", DEFAULT_SEED))


@pytest.fixture
def make_rig(tmp_path: Path, seed: int) -> Iterator[Callable[[Size], Rig]]:
    """Only its ports are drawn by true chance: tests may run side by side."""
    print(f"SAMPAN_BLOWS_SEED={seed}")
    made: list[Rig] = []

    def make(size: Size) -> Rig:
        made.append(Rig(tmp_path, Random(), size))
        return made[-1]

    yield make
    for rig in made:
        for process in rig.processes:
            process.kill()
