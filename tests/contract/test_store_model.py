"""Random histories against a dict: what each store holds, refuses, shows of the past, and tells to watchers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from controlplane.storage.errors import Compacted, KeyExists, KeyMissing, RevisionConflict
from controlplane.storage.interface import Change, Store
from controlplane.storage.open import open_store
from tests.contract.test_store import etcd, seen

__all__ = ["etcd"]
T = TypeVar("T")
KEYS = st.sampled_from(["/a/1", "/a/2", "/a/3", "/b/1"])
VALUES = st.binary(max_size=3)


class Machine(RuleBasedStateMachine):
    url: str
    numbers = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store: Store = self.run(self._open())
        self.held: dict[str, tuple[bytes, int]] = {}
        self.history: list[Change] = []
        self.begun = self.run(self.store.revision())
        self.compacted = self.begun

    async def _open(self) -> Store:
        return open_store(self.url.format(next(self.numbers)))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def newest(self) -> int:
        return self.history[-1].revision if self.history else self.begun

    def _record(self, change: Change) -> None:
        self.history.append(change)
        if change.type == "put":
            self.held[change.key] = (change.value, change.revision)
        else:
            del self.held[change.key]

    async def _write(self, verb: str, key: str, value: bytes, stale: bool) -> Change | Exception:
        old = self.held.get(key)
        at = (old[1] if old else self.begun) - (1 if stale else 0)
        before = old[0] if old else None
        try:
            if verb == "create":
                return Change("put", key, value, await self.store.create(key, value), None)
            if verb == "update":
                return Change("put", key, value, await self.store.update(key, value, at=at), before)
            return Change("delete", key, before or b"", await self.store.delete(key, at=at), before)
        except (KeyExists, KeyMissing, RevisionConflict) as error:
            return error

    @rule(
        writes=st.lists(
            st.tuples(st.sampled_from(["create", "create", "update", "delete"]), KEYS, VALUES, st.booleans()),
            min_size=1,
            unique_by=lambda w: w[1],
        )
    )
    def write_together(self, writes: list[tuple[str, str, bytes, bool]]) -> None:
        async def together() -> list[Change | Exception]:
            return await asyncio.gather(*(self._write(*write) for write in writes))

        results = self.run(together())
        for (verb, key, _, stale), result in zip(writes, results, strict=True):
            expected: type = Change
            if verb == "create":
                expected = KeyExists if key in self.held else Change
            elif key not in self.held:
                expected = KeyMissing
            elif stale:
                expected = RevisionConflict
            assert isinstance(result, expected), (verb, key, result)
        for change in sorted((r for r in results if isinstance(r, Change)), key=lambda c: c.revision):
            assert change.revision > self.newest()
            self._record(change)

    @rule(data=st.data(), prefix=st.sampled_from(["/", "/a/"]))
    def watch_from_anywhere(self, data: st.DataObject, prefix: str) -> None:
        after = data.draw(st.sampled_from([self.begun, *(c.revision for c in self.history)]))
        expected = [c for c in self.history if c.revision > after and c.key.startswith(prefix)]
        if not expected:
            return
        try:
            found = self.run(seen(self.store, prefix, after, len(expected)))
        except Compacted:
            assert after < self.compacted
            return
        assert found == expected
        # etcd keeps one revision more than asked, and others write to it: it may still have all there is to tell.
        assert after >= self.compacted or self.url.startswith("etcd")

    @rule(data=st.data())
    def look_back(self, data: st.DataObject) -> None:
        kept = [c.revision for c in self.history if c.revision >= self.compacted]
        if not kept:
            return
        at = data.draw(st.sampled_from(kept))
        state: dict[str, bytes] = {}
        for change in (c for c in self.history if c.revision <= at):
            state[change.key] = change.value
            if change.type == "delete":
                del state[change.key]
        page = self.run(self.store.range("/", revision=at))
        assert [(e.key, e.value) for e in page.entries] == sorted(state.items())

    @rule(data=st.data())
    def compact(self, data: st.DataObject) -> None:
        """Only at the first write of an etcd revision: what is older than that is surely gone, on every store."""
        if self.history:
            at = data.draw(st.sampled_from([c.revision for c in self.history]))
            if self.url.startswith("etcd") and any(
                c.revision >> 8 == at >> 8 and c.revision < at for c in self.history
            ):
                return
            self.run(self.store.compact(at))
            self.compacted = max(self.compacted, at)

    @invariant()
    def it_holds_what_was_acknowledged(self) -> None:
        page = self.run(self.store.range("/"))
        assert {e.key: (e.value, e.revision) for e in page.entries} == self.held
        assert page.revision >= self.newest() and self.run(self.store.revision()) >= self.newest()

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()


@pytest.mark.parametrize(
    ("kind", "examples"), [("memory", 60), ("sqlite", 15), pytest.param("etcd", 10, marks=pytest.mark.etcd)]
)
def test_any_history_is_as_the_model_has_it(
    kind: str, examples: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("model")
    if kind == "etcd":
        where = f"etcd://{request.getfixturevalue('etcd').endpoint}/{folder.name}-{{}}"
    else:
        where = "memory:" if kind == "memory" else f"sqlite://{folder}/{{}}.db"

    class Of(Machine):
        url = where

    limits = settings(
        max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(Of, settings=limits)  # type: ignore[no-untyped-call]
