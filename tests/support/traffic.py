"""Writers and watchers of ConfigMaps, and what must hold between what the ones were told and the others saw.

A writer notes every operation with its call, return and answer; a broken connection leaves the outcome open. A watcher
resumes where its stream broke, and lists again where the server says that the history is gone (a new Stretch).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from kubeapi.client.interface import Client
from kubeapi.errors import (
    AlreadyExists,
    ApiError,
    Conflict,
    Expired,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
)
from kubeapi.meta import replace
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta
from tests.support.linearizability import Answer, Operation, Verb

NAMESPACE = "default"
VERBS: Sequence[Verb] = ("get", "get", "get", "update", "update", "patch", "patch", "create", "create", "delete")
LISTS = 0.08
"""How often a writer lists instead of doing one of them."""
CAREFUL = 0.4
"""How many of the patches and deletes have the version read before as a condition."""
AWAY = (ServiceUnavailable, Timeout, TooManyRequests)


def config_map(name: str, value: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=NAMESPACE, labels={"traffic": "yes"}), data={"v": value})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a list showed: all of it at one revision."""

    revision: int
    state: dict[str, str]


@dataclass
class Writer:
    name: str
    clients: Sequence[Client]
    keys: Sequence[str]
    rng: Random
    pause: float
    history: list[Operation] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Errors that no client should ever see."""
    lists: list[Snapshot] = field(default_factory=list)
    seen: dict[str, ConfigMap] = field(default_factory=dict)
    """Of each key, what this writer read or wrote last."""

    async def run(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            if self.rng.random() < LISTS:
                self.history += await self.list(self.rng.choice(self.clients))
                await asyncio.sleep(self.pause)
                continue
            key, verb = self.rng.choice(self.keys), self.rng.choice(VERBS)
            operation = await self.act(self.rng.choice(self.clients), verb, key, f"{self.name}-{number}")
            if operation is not None:
                self.history.append(operation)
            lost = operation is not None and operation.answer == "unknown"
            await asyncio.sleep(0.05 if lost else self.pause)

    async def act(self, client: Client, verb: Verb, key: str, value: str) -> Operation | None:
        held = self.seen.get(key)
        careful = verb == "update" or (verb in ("patch", "delete") and self.rng.random() < CAREFUL)
        if verb == "update" and held is None:
            verb = "get"
        at = int(held.metadata.resource_version) if careful and held is not None else 0
        called, answer, revision = time.monotonic(), "ok", 0
        try:
            got: ConfigMap | None = None
            match verb:
                case "create":
                    got = await client.create(config_map(key, value))
                case "get":
                    got = await client.get(ConfigMap, key, NAMESPACE)
                case "update":
                    assert held is not None
                    got = await client.update(replace(held, data={"v": value}))
                case "patch":
                    patch: dict[str, Any] = {"data": {"v": value}}
                    if at:
                        patch["metadata"] = {"resourceVersion": str(at)}
                    got = await client.patch(ConfigMap, key, patch, namespace=NAMESPACE)
                case "delete":
                    await client.delete(ConfigMap, key, NAMESPACE, resource_version=at)
            if got is not None:
                revision, self.seen[key] = int(got.metadata.resource_version), got
                if verb == "get":
                    value = got.data["v"]
                elif got.data["v"] != value:
                    self.faults.append(f"{verb} {key}: wrote {value}, the answer holds {got.data}")
        except NotFound:
            answer = "missing"
        except AlreadyExists:
            answer = "exists"
        except Conflict:
            answer = "conflict"
        except AWAY:
            answer = "unknown"
        except ApiError as error:
            answer = "unknown"
            self.faults.append(f"{verb} {key}: {error.http} {error.reason}: {error}")
        returned = math.inf if answer == "unknown" else time.monotonic()
        kind: Answer = answer  # type: ignore[assignment]
        return Operation(key, verb, called, returned, kind, value, revision, at, self.name)

    async def list(self, client: Client) -> list[Operation]:
        """As if each key had been read at once: of what is not in the list, that it is missing."""
        called = time.monotonic()
        try:
            page = await client.list(ConfigMap, NAMESPACE, label_selector="traffic=yes")
        except AWAY:
            return []
        except ApiError as error:
            self.faults.append(f"list: {error.http} {error.reason}: {error}")
            return []
        returned, found = time.monotonic(), {o.metadata.name: o for o in page.items}
        self.lists.append(Snapshot(page.resource_version, {key: o.data["v"] for key, o in found.items()}))
        read: list[Operation] = []
        for key in self.keys:
            if (held := found.get(key)) is None:
                read.append(Operation(key, "get", called, returned, "missing", who=self.name))
            else:
                revision = int(held.metadata.resource_version)
                read.append(Operation(key, "get", called, returned, "ok", held.data["v"], revision, who=self.name))
        return read


@dataclass(frozen=True, slots=True)
class Seen:
    revision: int
    type: str
    key: str
    value: str


@dataclass
class Stretch:
    """From one list on."""

    begun: int
    state: dict[str, str]
    """What the list showed."""
    events: list[Seen] = field(default_factory=list)

    @property
    def newest(self) -> int:
        return self.events[-1].revision if self.events else self.begun


@dataclass
class Watcher:
    name: str
    clients: Sequence[Client]
    rng: Random
    stretches: list[Stretch] = field(default_factory=list)
    resumed: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Until cancelled. After each failure any server will do."""
        while True:
            client = self.rng.choice(self.clients)
            try:
                if not self.stretches:
                    await self._list(client)
                await self._watch(client)
                self.resumed += 1
            except Expired:
                await self._relist()
            except AWAY:
                self.resumed += 1
            await asyncio.sleep(0.05)

    async def _relist(self) -> None:
        while True:
            try:
                return await self._list(self.rng.choice(self.clients))
            except AWAY:
                await asyncio.sleep(0.05)

    async def _list(self, client: Client) -> None:
        page = await client.list(ConfigMap, NAMESPACE, label_selector="traffic=yes")
        self.stretches.append(Stretch(page.resource_version, {o.metadata.name: o.data["v"] for o in page.items}))
        self._move()

    async def _watch(self, client: Client) -> None:
        stretch = self.stretches[-1]
        self._resume = max(stretch.newest, getattr(self, "_resume", 0))
        async for batch in client.watch(
            ConfigMap, NAMESPACE, resource_version=self._resume, label_selector="traffic=yes"
        ):
            for event in batch:
                self._resume = event.resource_version
                if event.type != "BOOKMARK":
                    shown = event.object
                    stretch.events.append(
                        Seen(event.resource_version, event.type, shown.metadata.name, shown.data.get("v", ""))
                    )
            self._move()

    def _move(self) -> None:
        self.moved.set()
        self.moved = asyncio.Event()

    async def reached(self, revision: int) -> None:
        while not self.stretches or self.stretches[-1].newest < revision:
            await self.moved.wait()


def faults_of_lists(writers: Sequence[Writer], watchers: Sequence[Watcher]) -> list[str]:
    """Each list must show what the events up to its revision make."""
    faults: list[str] = []
    stretches = [stretch for watcher in watchers for stretch in watcher.stretches]
    for stretch in stretches:
        inside = (
            (one.revision, writer.name, one)
            for writer in writers
            for one in writer.lists
            if stretch.begun <= one.revision <= stretch.newest
        )
        state, events = dict(stretch.state), iter([*stretch.events, None])
        event = next(events)
        for revision, name, shown in sorted(inside, key=lambda found: found[0]):
            while event is not None and event.revision <= revision:
                if event.type == "DELETED":
                    state.pop(event.key, None)
                else:
                    state[event.key] = event.value
                event = next(events)
            if shown.state != state:
                differing = {key for key in state.keys() | shown.state.keys() if state.get(key) != shown.state.get(key)}
                faults.append(
                    f"{name}'s list at r{revision} shows of {sorted(differing)[:4]} "
                    f"{[shown.state.get(key) for key in sorted(differing)[:4]]}, "
                    f"the events make {[state.get(key) for key in sorted(differing)[:4]]}"
                )
    return faults


def faults_of(watchers: Sequence[Watcher], history: Sequence[Operation]) -> list[str]:
    """What a watcher missed, repeated, made up, or saw otherwise than another one."""
    written = {op.revision: op for op in history if op.revision and op.verb != "get"}
    faults: list[str] = []
    told: dict[int, Seen] = {}
    for watcher in watchers:
        for stretch in watcher.stretches:
            faults += [
                f"{watcher.name} saw {seen}, another saw {told[seen.revision]}"
                for seen in stretch.events
                if told.setdefault(seen.revision, seen) != seen
            ]
    for watcher in watchers:
        for number, stretch in enumerate(watcher.stretches):
            where = f"{watcher.name}, stretch {number} from r{stretch.begun} to r{stretch.newest}"
            faults += [f"{where}: {fault}" for fault in _of_stretch(stretch, written, told)]
    return faults


def _of_stretch(stretch: Stretch, written: dict[int, Operation], told: dict[int, Seen]) -> list[str]:
    faults: list[str] = []
    state, last = dict(stretch.state), stretch.begun
    for seen in stretch.events:
        if seen.revision <= last:
            faults.append(f"{seen} came after r{last}")
        last = seen.revision
        if (seen.type == "ADDED") == (seen.key in state):
            faults.append(f"{seen}, but the key {'is there' if seen.key in state else 'is not there'}")
        if seen.type == "DELETED":
            if state.pop(seen.key, None) != seen.value:
                faults.append(f"{seen} does not show the last state")
        else:
            state[seen.key] = seen.value
    here = {seen.revision: seen for seen in stretch.events}
    for revision, op in written.items():
        if stretch.begun < revision <= stretch.newest:
            if revision not in here:
                faults.append(f"missed the acknowledged {op}")
            elif (here[revision].key, here[revision].value) != (op.key, op.value):
                faults.append(f"{here[revision]} is not the acknowledged {op}")
    missed = [r for r in told if stretch.begun < r <= stretch.newest and r not in here]
    return faults + [f"missed {told[revision]}, which another saw" for revision in missed]
