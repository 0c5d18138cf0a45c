"""Keys, strategies and decoding: the registry's static part, from the scheme."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.apiserver.strategies.allocation import PORTS, NodePort
from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.versions import twin_of
from kubeapi import codec
from kubeapi.scheme import SCHEME, Resource

ROOT = "/registry/"


def prefix_of(resource: Resource, namespace: str = "") -> str:
    base = f"{ROOT}{resource.group or 'core'}/{resource.plural}/"
    return f"{base}{namespace}/" if namespace else base


def key_of(resource: Resource, namespace: str, name: str) -> str:
    return prefix_of(resource, namespace if resource.namespaced else "") + name


class Registry:
    def __init__(self, strategies: Mapping[str, Strategy]) -> None:
        self._strategies = dict(strategies)
        self._by_prefix: dict[str, Resource] = {}
        for resource in SCHEME.resources:
            if twin_of(resource) is None:
                self._by_prefix.setdefault(prefix_of(resource), resource)
        self._plain = Strategy()

    def strategy(self, resource: Resource) -> Strategy:
        return self._strategies.get(resource.qualified, self._plain)

    def resource_at(self, prefix: str) -> Resource | None:
        return self._by_prefix.get(prefix)

    def decode(self, key: str, value: bytes) -> Any:
        """A stored value; for the watch cache."""
        end = -1
        for _ in range(4):
            end = key.index("/", end + 1)
        prefix = key[: end + 1]
        if prefix == PORTS:
            return codec.decode(NodePort, value)
        return codec.decode(self._by_prefix[prefix].type, value)
