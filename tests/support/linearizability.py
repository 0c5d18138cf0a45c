"""Were these answers possible, had every operation taken place at one instant between its call and its return?

Wing and Gong's search with Lowe's memory, for one object at a time (linearizability is local: a history is linearizable
exactly if each object's part of it is):

    linearised so far, state ──► each operation that was called before the first pending return ──► its effect ──► deeper
              └── a pair seen before leads nowhere new ◄──┘

What keeps the search short: what changes nothing is taken as soon as it fits; answers that tell a revision take place in
the order of revisions; and a write of unknown outcome has a revision, too, as soon as anybody has read its value.

An operation whose outcome nobody knows (the connection broke) never returns: it may take place at any time from its call
on, or never. Writers give every write a value of its own, so that a read tells which write it saw.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

Verb = Literal["create", "get", "update", "patch", "delete"]
Answer = Literal["ok", "missing", "exists", "conflict", "unknown"]


@dataclass(frozen=True, slots=True)
class Operation:
    key: str
    verb: Verb
    called: float
    returned: float
    """Infinity: nobody was told how it ended."""
    answer: Answer
    value: str = ""
    """What was written, or read."""
    revision: int = 0
    """That the answer told; 0: it told none."""
    at: int = 0
    """The revision that the writer had read and made a condition: of each update, of some patches and deletes."""
    who: str = ""

    def __str__(self) -> str:
        told = f" r{self.revision}" if self.revision else ""
        at = f" at r{self.at}" if self.at else ""
        return f"{self.called:9.4f}..{self.returned:9.4f} {self.who:>8} {self.verb} {self.value}{at} -> {self.answer}{told}"


@dataclass(frozen=True, slots=True)
class Held:
    """What the key holds. revision 0: written by an operation whose answer was lost, and not read since."""

    value: str
    revision: int


State = Held | None


@dataclass(frozen=True, slots=True)
class Violation:
    key: str
    order: Sequence[Operation]
    """The longest order that explains a part of the history."""
    stuck: Sequence[Operation]
    """What could come next, and none of it fits."""
    state: State

    def __str__(self) -> str:
        tail = "\n".join(f"    {operation}" for operation in self.order[-12:])
        stuck = "\n".join(f"    {operation}" for operation in self.stuck)
        return f"{self.key}: no order explains the answers.\n  so far\n{tail}\n  state {self.state}\n  next\n{stuck}"


def after(state: State, op: Operation) -> tuple[State] | None:
    """The state after `op` takes place in `state`; None: it could not have been answered so."""
    if op.answer == "conflict":
        # Without a version it lost too many races, and did nothing.
        fits = not op.at or (state is not None and state.revision != op.at)
        return (state,) if fits else None
    if op.answer == "missing":
        return (None,) if state is None else None
    if op.answer == "exists":
        return (state,) if state is not None else None
    if op.verb == "create":
        return (Held(op.value, op.revision),) if state is None and op.answer in ("ok", "unknown") else None
    if state is None:
        return None
    if op.verb == "get":
        fits = op.value == state.value and state.revision in (0, op.revision)
        return (Held(op.value, op.revision),) if fits else None
    if op.at and state.revision not in (0, op.at):
        return None
    if op.verb == "delete":
        return (None,)
    if op.revision and state.revision >= op.revision:
        return None
    return (Held(op.value, op.revision),)


def check(history: Iterable[Operation], initial: Mapping[str, Held] | None = None) -> list[Violation]:
    """One violation for each key whose history is not linearizable."""
    by_key: dict[str, list[Operation]] = {}
    for operation in history:
        by_key.setdefault(operation.key, []).append(operation)
    start = initial or {}
    found = (_check_key(key, operations, start.get(key)) for key, operations in sorted(by_key.items()))
    return [violation for violation in found if violation is not None]


def _check_key(key: str, operations: list[Operation], initial: State) -> Violation | None:
    ops = _prepared(operations)
    needed = sum(1 << i for i, op in enumerate(ops) if op.returned < math.inf or op.answer != "unknown")
    stack: list[tuple[int, State, Path]] = [(0, initial, None)]
    seen: set[tuple[int, State]] = set()
    best: tuple[int, int, State, Path] = (-1, 0, initial, None)
    while stack:
        done, state, path = stack.pop()
        possible = _next(ops, done)
        while (i := _free(ops, possible, state)) is not None:
            effect = after(state, ops[i])
            assert effect is not None
            done, state, path = done | 1 << i, effect[0], (i, path)
            possible = _next(ops, done)
        if done & needed == needed:
            return None
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if (reached := (done & needed).bit_count()) > best[0]:
            best = (reached, done, state, path)
        refused = any(ops[i].answer == "conflict" for i in possible)
        for i in possible:
            op = ops[i]
            if op.answer == "unknown" and op.verb in ("patch", "update") and not refused:
                continue  # nobody has read it: all that it can explain is a conflict
            if (effect := after(state, op)) is not None:
                stack.append((done | 1 << i, effect[0], (i, path)))
    _, done, state, path = best
    order: list[Operation] = []
    while path is not None:
        order.append(ops[path[0]])
        path = path[1]
    return Violation(key, order[::-1], [ops[i] for i in reversed(_next(ops, done))], state)


Path = tuple[int, Any] | None
"""The newest operation's place in the list, and the path before it."""


def _prepared(operations: Iterable[Operation]) -> list[Operation]:
    """By call. Writes of unknown outcome whose value was read did take place, at the revision that was read."""
    read: dict[str, int] = {}
    for op in operations:
        if op.verb == "get" and op.answer == "ok":
            read[op.value] = min(op.revision, read.get(op.value, op.revision))
    found = []
    for op in operations:
        if op.answer == "unknown":
            if op.verb == "get":
                continue
            op = replace(op, returned=math.inf)
            if op.verb != "delete" and op.value in read:
                op = replace(op, answer="ok", revision=read[op.value])
        found.append(op)
    return sorted(found, key=lambda op: op.called)


def _free(ops: Sequence[Operation], possible: Sequence[int], state: State) -> int | None:
    """One that fits and changes nothing: to take it now is never wrong."""
    for i in possible:
        op = ops[i]
        if (op.verb == "get" or op.answer in ("conflict", "missing", "exists")) and after(state, op) is not None:
            return i
    return None


def _next(ops: Sequence[Operation], done: int) -> list[int]:
    """Which may take place now: none that was called after another had returned, none whose revision is not the next.
    The likeliest stands last: it is tried first."""
    left = [i for i in range(len(ops)) if not done >> i & 1]
    bound = min((ops[i].returned for i in left), default=math.inf)
    lowest = min((ops[i].revision for i in left if ops[i].revision), default=0)
    found = [i for i in left if ops[i].called <= bound and ops[i].revision in (0, lowest)]
    found.sort(key=lambda i: (-ops[i].returned, -ops[i].called))
    return found
