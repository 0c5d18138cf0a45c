"""The checker passes what is linearizable, and catches each planted violation."""

from __future__ import annotations

import math
from random import Random

import pytest

from tests.support.linearizability import Answer, Held, Operation, Verb, check


def op(
    verb: Verb,
    called: float,
    returned: float,
    value: str = "",
    *,
    revision: int = 0,
    at: int = 0,
    answer: Answer = "ok",
) -> Operation:
    if answer == "unknown":
        returned = math.inf
    return Operation("k", verb, called, returned, answer, value, revision, at)


FIRST = op("create", 0, 1, "a", revision=1)

FINE = {
    "one after the other": [
        FIRST,
        op("get", 2, 3, "a", revision=1),
        op("update", 4, 5, "b", at=1, revision=2),
        op("delete", 6, 7),
        op("get", 8, 9, answer="missing"),
    ],
    "a read during a write sees either": [
        FIRST,
        op("patch", 2, 9, "b", revision=2),
        op("get", 3, 4, "a", revision=1),
        op("get", 5, 6, "b", revision=2),
    ],
    "of two updates at one version one loses": [
        FIRST,
        op("update", 2, 5, "b", at=1, revision=2),
        op("update", 2, 5, "c", at=1, answer="conflict"),
    ],
    "a lost write that took place": [
        FIRST,
        op("patch", 2, 3, "b", answer="unknown"),
        op("get", 4, 5, "b", revision=2),
    ],
    "a lost write that takes place late": [
        FIRST,
        op("patch", 2, 3, "b", answer="unknown"),
        op("get", 4, 5, "a", revision=1),
        op("get", 6, 7, "b", revision=2),
    ],
    "a lost write that never took place": [
        FIRST,
        op("delete", 2, 3, answer="unknown"),
        op("get", 4, 5, "a", revision=1),
    ],
    "a lost delete, and the name is free": [
        FIRST,
        op("delete", 2, 3, answer="unknown"),
        op("create", 4, 5, "b", revision=3),
    ],
    "of a delete and an update at one version one loses": [
        FIRST,
        op("delete", 2, 5, at=1),
        op("update", 2, 5, "b", at=1, answer="missing"),
    ],
    "a delete at the version that is there": [FIRST, op("delete", 2, 3, at=1), op("get", 4, 5, answer="missing")],
    "two creators, one told that it exists": [
        op("create", 0, 5, "a", revision=1),
        op("create", 0, 5, "b", answer="exists"),
    ],
}

BROKEN = {
    "an acknowledged write is lost": [
        FIRST,
        op("patch", 2, 3, "b", revision=2),
        op("get", 4, 5, "a", revision=1),
    ],
    "a stale read": [
        FIRST,
        op("patch", 2, 9, "b", revision=2),
        op("get", 3, 4, "b", revision=2),
        op("get", 5, 6, "a", revision=1),
    ],
    "a deleted object comes back": [
        FIRST,
        op("delete", 2, 3),
        op("get", 4, 5, "a", revision=1),
    ],
    "a created object cannot be found": [FIRST, op("get", 2, 3, answer="missing")],
    "both updates at one version win": [
        FIRST,
        op("update", 2, 5, "b", at=1, revision=2),
        op("update", 2, 5, "c", at=1, revision=3),
    ],
    "both creators win": [op("create", 0, 5, "a", revision=1), op("create", 0, 5, "b", revision=2)],
    "a lost write that takes place twice": [
        FIRST,
        op("patch", 2, 3, "b", answer="unknown"),
        op("get", 4, 5, "b", revision=2),
        op("patch", 6, 7, "c", revision=3),
        op("get", 8, 9, "b", revision=4),
    ],
    "a lost write that takes place before it was asked for": [
        FIRST,
        op("get", 2, 3, "b", revision=2),
        op("patch", 4, 5, "b", answer="unknown"),
    ],
    "a conflict at the version that is there": [FIRST, op("update", 2, 3, "b", at=1, answer="conflict")],
    "revisions go back": [
        op("create", 0, 1, "a", revision=5),
        op("patch", 2, 3, "b", revision=4),
    ],
    "a delete at a version that is gone": [
        FIRST,
        op("patch", 2, 3, "b", revision=2),
        op("delete", 4, 5, at=1),
    ],
    "a patch at a version that is gone": [
        FIRST,
        op("patch", 2, 3, "b", revision=2),
        op("patch", 4, 5, "c", at=1, revision=3),
    ],
    "a delete refused at the version that is there": [FIRST, op("delete", 2, 3, at=1, answer="conflict")],
    "one value under two revisions": [
        FIRST,
        op("get", 2, 3, "a", revision=2),
    ],
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_possible_passes(name: str) -> None:
    assert check(FINE[name]) == []


@pytest.mark.parametrize("name", BROKEN)
def test_a_planted_violation_is_caught(name: str) -> None:
    (violation,) = check(BROKEN[name])
    assert violation.key == "k"
    assert "no order explains" in str(violation)


def test_keys_do_not_share_their_fate() -> None:
    broken = BROKEN["a stale read"]
    others = [
        Operation("other", o.verb, o.called, o.returned, o.answer, o.value, o.revision)
        for o in FINE["one after the other"]
    ]
    assert [violation.key for violation in check([*broken, *others])] == ["k"]


def test_a_history_may_begin_with_what_is_there() -> None:
    read = op("get", 0, 1, "a", revision=7)
    assert check([read], {"k": Held("a", 7)}) == []
    assert len(check([read])) == 1


@pytest.mark.parametrize("seed", range(20))
def test_a_simulated_register_passes_and_one_stale_read_in_it_does_not(seed: int) -> None:
    """Fifteen clients on a true register, a third of the answers lost; then one read of a value of long ago is planted."""
    rng = Random(seed)
    history: list[Operation] = []
    value, revision, now = "v0", 1, 0.0
    past = [(value, revision)]
    history.append(op("create", 0.0, 0.1, value, revision=revision))
    for number in range(1, 400):
        now += 1.0
        called, returned = now - rng.random() * 15, now + rng.random() * 15
        called = max(called, 0.2)
        if rng.random() < 0.5:
            value, revision = f"v{number}", revision + 1
            past.append((value, revision))
            if rng.random() < 0.3:
                history.append(op("patch", called, math.inf, value, answer="unknown"))
            else:
                history.append(op("patch", called, returned, value, revision=revision))
        elif rng.random() < 0.1:
            history.append(op("patch", called, math.inf, f"never{number}", answer="unknown"))
        else:
            history.append(op("get", called, returned, value, revision=revision))
    assert check(history) == []
    old = past[len(past) // 4]
    history.append(op("get", now + 20, now + 21, old[0], revision=old[1]))
    assert len(check(history)) == 1
