"""From what a person types (`po`, `deploy/web`, `pods,services`, `deployments.v1.apps`) to resources and names.

The built-in kinds are known without asking; for a word that is none of them the server's discovery is asked, once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kubeapi.scheme import SCHEME, Resource
from kubectl_lite.errors import UsageError


@dataclass(frozen=True, slots=True)
class Target:
    resource: Resource
    name: str = ""
    """Empty: all objects of the resource."""


class Names:
    def __init__(self, discover: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self._discover = discover
        self._served: list[Resource] | None = None

    async def served(self) -> list[Resource]:
        """What this server serves, in its order of preference."""
        if self._served is None:
            self._served = from_discovery(await self._discover())
        return self._served

    async def find(self, word: str) -> Resource:
        """Raises UsageError."""
        found = best(SCHEME.resources, word) or best(await self.served(), word)
        if found is None:
            raise UsageError(f'the server doesn\'t have a resource type "{word}"; see `kubectl-lite api-resources`')
        return found

    async def by_kind(self, api_version: str, kind: str) -> Resource | None:
        known = SCHEME.by_kind(api_version, kind)
        if known is not None:
            return known if known.plural else None
        return next((r for r in await self.served() if (r.api_version, r.kind) == (api_version, kind)), None)

    async def expand(self, words: str) -> list[Resource]:
        """Of `pods,svc`, `all`: each once, in order."""
        found: list[Resource] = []
        for word in words.split(","):
            if not word:
                raise UsageError(f"{words!r}: there is an empty name between the commas")
            for resource in in_category(word) or [await self.find(word)]:
                if resource not in found:
                    found.append(resource)
        return found

    async def targets(self, words: Sequence[str]) -> list[Target]:
        """`TYPE[,TYPE] [NAME ...]` or `TYPE/NAME ...`; raises UsageError."""
        if not words:
            raise UsageError("you must name the type of resource, for example `pods`, `deploy/web` or `svc web`")
        if any("/" in word for word in words):
            targets = []
            for word in words:
                kind, slash, name = word.partition("/")
                if not slash or not kind or not name or "/" in name:
                    raise UsageError(f"{word!r}: when one argument is TYPE/NAME, all must be")
                targets += [Target(resource, name) for resource in await self.expand(kind)]
            return targets
        resources = await self.expand(words[0])
        names = list(dict.fromkeys(words[1:]))
        return [Target(r, n) for r in resources for n in names] if names else [Target(r) for r in resources]


def best(resources: Iterable[Resource], word: str) -> Resource | None:
    """By plural, singular, kind or short name, optionally with group: `deploy`, `Deployment`, `deployments.v1.apps`."""
    plain, _, rest = word.lower().partition(".")
    found = [r for r in resources if plain in (r.plural, r.kind.lower(), *r.short) and (not rest or _fits(r, rest))]
    return min(found, key=_preference, default=None)


def _fits(resource: Resource, rest: str) -> bool:
    return rest in (resource.group, f"{resource.version}.{resource.group}", f"{resource.version}.") or (
        not resource.group and rest == resource.version
    )


def _preference(resource: Resource) -> tuple[bool, bool, bool]:
    """The core group first; of several versions the newest stands first in the table; metrics last."""
    return (resource.group == "metrics.k8s.io", resource.group != "", resource.version == "v1" and _has_v2(resource))


def _has_v2(resource: Resource) -> bool:
    return SCHEME.by_plural(resource.group, "v2", resource.plural) is not None


def in_category(word: str) -> list[Resource]:
    found = [r for r in SCHEME.resources if word in r.categories]
    if word != "all":
        return found
    order = "pods services daemonsets deployments replicasets statefulsets horizontalpodautoscalers cronjobs jobs"
    rank = {plural: number for number, plural in enumerate(order.split())}
    newest = [r for r in found if not (r.version == "v1" and _has_v2(r))]
    return sorted(newest, key=lambda r: rank.get(r.plural, len(rank)))


def from_discovery(groups: dict[str, Any]) -> list[Resource]:
    """Of an aggregated discovery document; the resources that we know ourselves keep their own entry."""
    found = []
    for group in groups.get("items") or []:
        name = (group.get("metadata") or {}).get("name") or ""
        for version in group.get("versions") or []:
            found += [_resource(name, version["version"], r) for r in version.get("resources") or []]
    return found


def _resource(group: str, version: str, entry: dict[str, Any]) -> Resource:
    known = SCHEME.by_plural(group, version, entry["resource"])
    if known is not None:
        return known
    subresources = {s.get("subresource") for s in entry.get("subresources") or []}
    return Resource(
        group=group,
        version=version,
        kind=entry.get("responseKind", {}).get("kind", ""),
        plural=entry["resource"],
        namespaced=entry.get("scope") == "Namespaced",
        short=tuple(entry.get("shortNames") or ()),
        categories=tuple(entry.get("categories") or ()),
        status="status" in subresources,
        scale="scale" in subresources,
        module="",
    )


def qualified_kind(resource: Resource) -> str:
    """`pod`, `deployment.apps`: as in `pod/web created`."""
    return f"{resource.kind.lower()}.{resource.group}" if resource.group else resource.kind.lower()
