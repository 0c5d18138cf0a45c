"""RBAC: which rules a user has, from the roles and bindings that the watch cache holds.

    bindings × roles ──(once per change of any of them)──► subject → [(namespace or "" for all, rules)] ──► allows, rules_of

An aggregated ClusterRole has the rules of all ClusterRoles that its selectors choose, worked out here: it grants what they
grant from the moment they are written. Nobody may write a role with more than he has himself, or bind one, unless he has
the verbs `escalate` or `bind` on it. Source: Kubernetes, "Using RBAC Authorization".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.apiserver.auth.attributes import Attributes, User
from controlplane.apiserver.cache import WatchCache
from kubeapi.selectors import label_query
from kubeapi.types.rbac_v1 import PolicyRule

GROUP = "rbac.authorization.k8s.io"
_ROOT = f"/registry/{GROUP}/"
KINDS = ("roles", "clusterroles", "rolebindings", "clusterrolebindings")
ALL = "*"


@dataclass(frozen=True, slots=True)
class Grant:
    namespace: str
    """Where it holds; empty: everywhere, and for what has no namespace."""
    rules: Sequence[PolicyRule]
    source: str
    """For the reason of an answer: which binding, to which role."""


class Rbac:
    _index: dict[str, list[Grant]]  # "User:ann", "Group:staff" to what they have; made from _seen

    def __init__(self, cache: WatchCache) -> None:
        self._cache = cache
        self._seen: tuple[int, ...] = ()
        self._index = {}

    def reason(self, user: User, ask: Attributes) -> str | None:
        """Which binding allows it; None: none does."""
        for grant in self._grants(user):
            if grant.namespace and (grant.namespace != ask.namespace or not ask.resource):
                continue
            if any(allows(rule, ask) for rule in grant.rules):
                return f"RBAC: allowed by {grant.source}"
        return None

    def rules_of(self, user: User, namespace: str) -> list[PolicyRule]:
        """What holds in a namespace; for "" what holds everywhere."""
        return [r for g in self._grants(user) if g.namespace in ("", namespace) for r in g.rules]

    def rules_of_role(self, kind: str, namespace: str, name: str) -> list[PolicyRule] | None:
        """None: there is no such role."""
        key = f"{_ROOT}clusterroles/{name}" if kind == "ClusterRole" else f"{_ROOT}roles/{namespace}/{name}"
        item = self._cache.get(key)
        return None if item is None else self._resolved(item.object)

    def _resolved(self, role: Any) -> list[PolicyRule]:
        if role.kind != "ClusterRole" or role.aggregation_rule is None:
            return list(role.rules)
        queries = [label_query(s) for s in role.aggregation_rule.cluster_role_selectors]
        found: list[PolicyRule] = list(role.rules)
        for _, item in sorted(self._cache.collection(f"{_ROOT}clusterroles/").items.items()):
            other = item.object
            chosen = other.aggregation_rule is None and any(q.matches(other.metadata.labels) for q in queries)
            if chosen:
                found += [rule for rule in other.rules if rule not in found]
        return found

    def _grants(self, user: User) -> Iterator[Grant]:
        collections = [self._cache.collection(f"{_ROOT}{kind}/") for kind in KINDS]
        seen = tuple(c.changes for c in collections)
        if seen != self._seen:
            self._seen, self._index = seen, self._built()
        yield from self._index.get(f"User:{user.name}", ())
        for group in user.groups:
            yield from self._index.get(f"Group:{group}", ())

    def _built(self) -> dict[str, list[Grant]]:
        index: dict[str, list[Grant]] = {}
        for kind in ("clusterrolebindings", "rolebindings"):
            for item in self._cache.collection(f"{_ROOT}{kind}/").items.values():
                binding = item.object
                namespace, ref = binding.metadata.namespace, binding.role_ref
                rules = self.rules_of_role(ref.kind, namespace, ref.name)
                if not rules:
                    continue
                name = f"{namespace}/{binding.metadata.name}" if namespace else binding.metadata.name
                source = f'{binding.kind} "{name}" of {ref.kind} "{ref.name}"'
                for subject in binding.subjects:
                    who = f"{subject.kind}:{subject.name}"
                    if subject.kind == "ServiceAccount":
                        who = f"User:system:serviceaccount:{subject.namespace or namespace}:{subject.name}"
                    index.setdefault(who, []).append(Grant(namespace, rules, source))
        return index


def allows(rule: PolicyRule, ask: Attributes) -> bool:
    if ALL not in rule.verbs and ask.verb not in rule.verbs:
        return False
    if not ask.resource:
        return any(_url(pattern, ask.path) for pattern in rule.non_resource_urls)
    if ALL not in rule.api_groups and ask.group not in rule.api_groups:
        return False
    return _resource(rule.resources, ask.resource, ask.subresource) and (
        not rule.resource_names or ask.name in rule.resource_names
    )


def _url(pattern: str, path: str) -> bool:
    return pattern in (ALL, path) or (pattern.endswith(ALL) and path.startswith(pattern[:-1]))


def _resource(patterns: Sequence[str], resource: str, subresource: str) -> bool:
    full = f"{resource}/{subresource}" if subresource else resource
    return ALL in patterns or full in patterns or (bool(subresource) and f"*/{subresource}" in patterns)


def uncovered(held: Sequence[PolicyRule], wanted: Iterable[PolicyRule]) -> list[PolicyRule]:
    """What of `wanted`, taken apart to single verbs and resources, `held` does not grant."""
    return [one for rule in wanted for one in _atoms(rule) if not any(_covers(has, one) for has in held)]


def _atoms(rule: PolicyRule) -> Iterator[PolicyRule]:
    for verb in rule.verbs:
        for url in rule.non_resource_urls:
            yield PolicyRule(verbs=[verb], non_resource_urls=[url])
        for group in rule.api_groups:
            for resource in rule.resources:
                for name in rule.resource_names or [""]:
                    names = [name] if name else []
                    yield PolicyRule(verbs=[verb], api_groups=[group], resources=[resource], resource_names=names)


def _covers(has: PolicyRule, one: PolicyRule) -> bool:
    if ALL not in has.verbs and one.verbs[0] not in has.verbs:
        return False
    if one.non_resource_urls:
        return any(_url(pattern, one.non_resource_urls[0]) for pattern in has.non_resource_urls)
    if ALL not in has.api_groups and one.api_groups[0] not in has.api_groups:
        return False
    resource, _, subresource = one.resources[0].partition("/")
    if not _resource(has.resources, resource, subresource):
        return False
    return not has.resource_names or (bool(one.resource_names) and one.resource_names[0] in has.resource_names)
