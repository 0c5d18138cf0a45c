"""Which resources there are: group, version, plural, kind, and the Struct of each. Read from the generated table.

Struct modules are imported when one of their types is first asked for, so a CLI that touches pods never loads
the webhooks' types.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from kubeapi.types.kinds import KINDS


@dataclass(frozen=True, eq=False)
class Resource:
    """One resource type in one version. Compared by identity: there is one of each."""

    group: str
    version: str
    kind: str
    plural: str
    """Empty for kinds that have no URL of their own (DeleteOptions, Scale, Binding's like)."""
    namespaced: bool
    short: tuple[str, ...]
    categories: tuple[str, ...]
    status: bool
    scale: bool
    module: str

    @cached_property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def singular(self) -> str:
        return self.kind.lower()

    @cached_property
    def qualified(self) -> str:
        """`pods`, `deployments.apps`: as in messages and selectors."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @cached_property
    def type(self) -> Any:
        return getattr(importlib.import_module(f"kubeapi.types.{self.module}"), self.kind)

    def path(self, namespace: str = "", name: str = "") -> str:
        """The URL path of an object, or of the collection when name is empty."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        middle = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{middle}/{self.plural}" + (f"/{name}" if name else "")


class Scheme:
    def __init__(self) -> None:
        every = [
            Resource(
                group="" if group == "meta" else group,
                version=version,
                kind=kind,
                plural=plural,
                namespaced=namespaced,
                short=short,
                categories=categories,
                status=status,
                scale=scale,
                module=module,
            )
            for module, group, version, kind, plural, namespaced, short, categories, status, scale in KINDS
        ]
        self.resources = [r for r in every if r.plural]
        """Those with a URL."""
        self._by_plural = {(r.group, r.version, r.plural): r for r in self.resources}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        for r in every:
            self._by_kind.setdefault((r.api_version, r.kind), r)
        self._by_type_name = {(f"kubeapi.types.{r.module}", r.kind): r for r in every}

    def by_plural(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_plural.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        """Kinds without a URL too: DeleteOptions, Scale, Binding."""
        return self._by_kind.get((api_version, kind))

    def resource_of(self, type_or_object: Any) -> Resource:
        """Raises KeyError for a type that is no kind."""
        cls = type_or_object if isinstance(type_or_object, type) else type(type_or_object)
        return self._by_type_name[cls.__module__, cls.__name__]

    def groups(self) -> dict[str, list[str]]:
        """Group to its versions, newest first."""
        found: dict[str, list[str]] = {}
        for r in self.resources:
            versions = found.setdefault(r.group, [])
            if r.version not in versions:
                versions.append(r.version)
        return {group: sorted(versions, reverse=True) for group, versions in found.items()}


SCHEME = Scheme()
