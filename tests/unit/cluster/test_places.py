"""Clusters of tests that run side by side share no subnet and no port."""

import re
from itertools import pairwise
from pathlib import Path

TESTS = Path(__file__).parents[2]


def test_a_place_is_nobody_elses() -> None:
    text = "".join(path.read_text() for path in TESTS.rglob("*.py"))
    places = re.findall(r'Place\("[a-z]+", (\d+), (\d+)\)', text)
    subnets = ["77", *(subnet for subnet, _ in places)]  # `make cluster` has 77
    assert len(places) >= 3
    assert len(set(subnets)) == len(subnets)
    assert all(after - before >= 5 for before, after in pairwise(sorted(int(port) for _, port in places)))
