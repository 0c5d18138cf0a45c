"""May they: the members of `system:masters` everything, a node what its pods need, everybody what RBAC grants.

allows:  masters ─► node authorizer ─► RBAC ─► no
admit:   what depends on the object itself: a node's limits, and that nobody writes a role with more than he has
"""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.auth.attributes import MASTERS, Attributes, User
from controlplane.apiserver.auth.node import NodeAuthorizer, node_name, restrict
from controlplane.apiserver.auth.rbac import GROUP, Rbac, uncovered
from kubeapi.errors import Forbidden
from kubeapi.types.rbac_v1 import PolicyRule

__all__ = ["Attributes", "Authorizer", "refusal"]

EVERYTHING = PolicyRule(verbs=["*"], api_groups=["*"], resources=["*"])
EVERY_PATH = PolicyRule(verbs=["*"], non_resource_urls=["*"])


class Authorizer:
    def __init__(self, *, rbac: Rbac | None = None, nodes: NodeAuthorizer | None = None) -> None:
        """Without either, only the members of system:masters may do anything."""
        self._rbac = rbac
        self._nodes = nodes

    def reason(self, user: User, ask: Attributes) -> str | None:
        """Why it is allowed; None: it is not."""
        if MASTERS in user.groups:
            return f"a member of {MASTERS}"
        if self._nodes is not None and (found := self._nodes.reason(user, ask)) is not None:
            return found
        return self._rbac.reason(user, ask) if self._rbac is not None else None

    def allows(self, user: User, ask: Attributes) -> bool:
        return self.reason(user, ask) is not None

    def check(self, user: User, ask: Attributes) -> None:
        """Raises Forbidden."""
        if self.reason(user, ask) is None:
            raise refusal(user, ask)

    def rules_of(self, user: User, namespace: str) -> list[PolicyRule]:
        if MASTERS in user.groups:
            return [EVERYTHING, EVERY_PATH]
        return self._rbac.rules_of(user, namespace) if self._rbac is not None else []

    # ------------------------------------------------------------------ what depends on the object

    def admit(self, user: User, plural: str, group: str, new: Any, old: Any | None) -> None:
        """Raises Forbidden. For a create (old is None) and an update of an object."""
        if MASTERS in user.groups:
            return
        if node := node_name(user):
            restrict(node, plural, new, old)
        if group != GROUP or self._rbac is None:
            return
        if plural in ("roles", "clusterroles"):
            if old is not None and new.rules == old.rules and _selectors(new) == _selectors(old):
                return
            rules = list(new.rules)
            if _selectors(new):  # whoever chooses roles by label gets what anybody labels so
                rules = [EVERYTHING, EVERY_PATH]
            self._covered(user, plural, new, rules, "escalate", new.metadata.name)
        elif plural in ("rolebindings", "clusterrolebindings"):
            if old is not None and new.subjects == old.subjects:
                return
            ref = new.role_ref
            of = "clusterroles" if ref.kind == "ClusterRole" else "roles"
            found = self._rbac.rules_of_role(ref.kind, new.metadata.namespace, ref.name)
            ask = Attributes("bind", GROUP, of, "", new.metadata.namespace, ref.name)
            if found is None and not self.allows(user, ask):
                raise Forbidden(f'{plural}.{GROUP} "{new.metadata.name}" is forbidden: {of} "{ref.name}" not found')
            self._covered(user, of, new, found or [], "bind", ref.name, plural)

    def _covered(
        self, user: User, roles: str, new: Any, rules: list[PolicyRule], verb: str, name: str, plural: str = ""
    ) -> None:
        namespace = new.metadata.namespace
        if self.allows(user, Attributes(verb, GROUP, roles, "", namespace, name)):
            return
        missing = uncovered(self.rules_of(user, namespace), rules)
        if missing:
            lacks = "; ".join(_words(rule) for rule in missing[:5]) + (" and more" if len(missing) > 5 else "")
            raise Forbidden(
                f'{plural or roles}.{GROUP} "{new.metadata.name}" is forbidden: user "{user.name}" '
                f"(groups={list(user.groups)}) is attempting to grant RBAC permissions not currently held: {lacks}"
            )


def _selectors(role: Any) -> Any:
    rule = getattr(role, "aggregation_rule", None)
    return rule.cluster_role_selectors if rule is not None else None


def _words(rule: PolicyRule) -> str:
    if rule.non_resource_urls:
        return f"{rule.verbs[0]} {rule.non_resource_urls[0]}"
    of = f".{rule.api_groups[0]}" if rule.api_groups[0] else ""
    named = f' "{rule.resource_names[0]}"' if rule.resource_names else ""
    return f"{rule.verbs[0]} {rule.resources[0]}{of}{named}"


def refusal(user: User, ask: Attributes) -> Forbidden:
    """In the words that Kubernetes' users know."""
    if not ask.resource:
        return Forbidden(f'forbidden: User "{user.name}" cannot {ask.verb} path "{ask.path}"')
    what = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
    full = f"{ask.resource}.{ask.group}" if ask.group else ask.resource
    of = f' "{ask.name}"' if ask.name else ""
    where = f'in the namespace "{ask.namespace}"' if ask.namespace else "at the cluster scope"
    text = (
        f'{full}{of} is forbidden: User "{user.name}" cannot {ask.verb} resource "{what}" '
        f'in API group "{ask.group}" {where}'
    )
    return Forbidden(text, details={"name": ask.name, "group": ask.group, "kind": ask.resource})
