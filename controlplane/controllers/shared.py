"""What every controller is given: the client, one informer per kind, time, chance, and a way to tell events."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol, TypeVar

from kubeapi.client.cache import IndexFunction
from kubeapi.client.controller import ControllerMetrics
from kubeapi.client.events import EventRecorder
from kubeapi.client.informer import Informer, InformerMetrics, metadata_only
from kubeapi.client.interface import Client
from kubeapi.client.keys import KubeObject
from kubeapi.clock import Clock
from kubeapi.errors import NotFound

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object


class Informers:
    """One informer per type, shared by all controllers of a process."""

    def __init__(self, client: Client, *, rng: Random, metrics: InformerMetrics | None = None) -> None:
        self._client = client
        self._metrics = metrics
        self._rng = rng
        self._found: dict[type[Any], Informer[Any]] = {}
        self._named: dict[tuple[type[Any], str], Informer[Any]] = {}

    def of(self, type_: type[O], indexes: Mapping[str, IndexFunction] | None = None) -> Informer[O]:
        """Of whole objects."""
        informer = self._informer(type_, indexes)
        informer.keep = None
        return informer

    def metadata_of(self, type_: type[O], indexes: Mapping[str, IndexFunction] | None = None) -> Informer[O]:
        """Of their metadata, as far as the garbage collector needs it; or of whole ones, where somebody reads those."""
        known = type_ in self._found
        informer = self._informer(type_, indexes)
        if not known:
            informer.keep = metadata_only
        return informer

    def named(self, type_: type[O], name: str) -> Informer[O]:
        """Only of the objects of this name, in all namespaces: where the kind is large and the interest small."""
        found = self._named.get((type_, name))
        if found is None:
            only = f"metadata.name={name}"
            found = Informer(self._client, type_, rng=self._rng, field_selector=only, metrics=self._metrics)
            self._named[type_, name] = found
        return found

    def _informer(self, type_: type[O], indexes: Mapping[str, IndexFunction] | None) -> Informer[O]:
        informer = self._found.get(type_)
        if informer is None:
            informer = self._found[type_] = Informer(self._client, type_, rng=self._rng, metrics=self._metrics)
        for name, function in (indexes or {}).items():
            informer.cache.add_index(name, function)
        return informer

    def __iter__(self) -> Iterator[Informer[Any]]:
        return iter([*self._found.values(), *self._named.values()])


@dataclass(frozen=True, slots=True)
class Shared:
    client: Client
    clock: Clock
    rng: Random
    informers: Informers
    events: EventRecorder
    metrics: ControllerMetrics


class Runnable(Protocol):
    name: str

    async def run(self) -> None: ...


Build = Callable[[Shared], Runnable]


async def may_adopt(client: Client, owner: Any) -> bool:
    """Asks the server: what is adopted by an object that is gone already would be collected as garbage."""
    try:
        live = await client.get(type(owner), owner.metadata.name, owner.metadata.namespace)
    except NotFound:
        return False
    return bool(live.metadata.uid == owner.metadata.uid and live.metadata.deletion_timestamp is None)
