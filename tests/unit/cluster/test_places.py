"""Compose clusters of tests share no subnet, neither with each other nor with `make cluster`."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_a_place_is_nobody_elses() -> None:
    text = "".join(path.read_text() for path in TESTS.rglob("*.py"))
    subnets = ["77", *re.findall(r'Place\("[a-z]+", (\d+)\)', text)]
    assert len(subnets) >= 4
    assert len(set(subnets)) == len(subnets)
