"""What an informer knows: objects by key, and indexes that are kept with every change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from kubeapi.client.keys import Key, KubeObject, key_of

O = TypeVar("O", bound=KubeObject)  # noqa: E741 - an object

IndexFunction = Callable[[Any], Iterable[Hashable]]
"""The values under which an object is to be found; none, one or several. Pure, and stable for one object."""


class Cache(Generic[O]):
    """Read by everybody, changed by its informer alone. The objects are shared: never change them."""

    _objects: dict[Key, O]
    _indexes: dict[str, dict[Hashable, dict[Key, O]]]
    """Index name to value to objects; a value without objects is not there."""

    def __init__(self, indexes: Mapping[str, IndexFunction] | None = None) -> None:
        self._objects = {}
        self._functions = dict(indexes or {})
        self._indexes = {name: {} for name in self._functions}

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[O]:
        """A snapshot: changes made meanwhile do not show."""
        return iter(list(self._objects.values()))

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def get(self, key: Key) -> O | None:
        return self._objects.get(key)

    def find(self, name: str, namespace: str = "") -> O | None:
        return self._objects.get(Key(namespace, name))

    def keys(self) -> list[Key]:
        return list(self._objects)

    def by(self, index: str, value: Hashable) -> list[O]:
        return list(self._indexes[index].get(value, {}).values())

    def values_of(self, index: str) -> list[Hashable]:
        return list(self._indexes[index])

    def add_index(self, name: str, function: IndexFunction) -> None:
        """At any time; what is cached already is indexed at once."""
        self._functions[name] = function
        index: dict[Hashable, dict[Key, O]] = {}
        for key, obj in self._objects.items():
            for value in function(obj):
                index.setdefault(value, {})[key] = obj
        self._indexes[name] = index

    def put(self, obj: O) -> O | None:
        """Returns what was there before."""
        key = key_of(obj)
        old = self._objects.get(key)
        self._objects[key] = obj
        for name, function in self._functions.items():
            index = self._indexes[name]
            values = list(function(obj))
            if old is not None:
                self._drop(index, (v for v in function(old) if v not in values), key)
            for value in values:
                index.setdefault(value, {})[key] = obj
        return old

    def remove(self, key: Key) -> O | None:
        old = self._objects.pop(key, None)
        if old is not None:
            for name, function in self._functions.items():
                self._drop(self._indexes[name], function(old), key)
        return old

    @staticmethod
    def _drop(index: dict[Hashable, dict[Key, O]], values: Iterable[Hashable], key: Key) -> None:
        for value in values:
            found = index.get(value)
            if found is not None:
                found.pop(key, None)
                if not found:
                    del index[value]
