"""From what a person types (`po`, `deploy/web`, `pods,services`, `rs web-1 web-2`) to resources and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubeapi.scheme import SCHEME, Resource


class UsageError(Exception):
    """The command's words are off; the text says what is allowed."""


@dataclass(frozen=True, slots=True)
class Target:
    resource: Resource
    name: str = ""
    """Empty: all objects of the resource."""


def find_resource(word: str) -> Resource:
    """By plural, singular, kind or short name, optionally with a group: `deploy`, `Deployment`, `events.events.k8s.io`."""
    plain, _, group = word.lower().partition(".")
    found = [r for r in SCHEME.resources if plain in _aliases(r) and (not group or r.group == group)]
    if not found:
        raise UsageError(f'the server doesn\'t have a resource type "{word}"; see `kubectl-lite api-resources`')
    return min(found, key=_preference)


def _aliases(resource: Resource) -> Iterable[str]:
    return (resource.plural, resource.kind.lower(), *resource.short)


def _preference(resource: Resource) -> tuple[bool, bool, str]:
    """The core group first, newer autoscaling before older, metrics last."""
    return (resource.group == "metrics.k8s.io", resource.group != "", _newest_first(resource.version))


def _newest_first(version: str) -> str:
    return "".join(chr(0x7F - ord(c)) for c in version)


def in_category(word: str) -> list[Resource]:
    return [r for r in SCHEME.resources if word in r.categories]


def parse_targets(words: Sequence[str]) -> list[Target]:
    """`TYPE[,TYPE] [NAME ...]` or `TYPE/NAME ...`; raises UsageError."""
    if not words:
        raise UsageError("name a resource type, for example `pods` or `deploy/web`")
    if any("/" in word for word in words):
        targets = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name:
                raise UsageError(f"{word!r}: when one argument is TYPE/NAME, all must be")
            targets.append(Target(find_resource(kind), name))
        return targets
    resources = [r for kind in words[0].split(",") for r in (in_category(kind) or [find_resource(kind)])]
    if len(words) == 1:
        return [Target(r) for r in resources]
    return [Target(r, name) for r in resources for name in words[1:]]
