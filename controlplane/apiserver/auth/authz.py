"""May they: a short table of rules for the cluster's own identities; whoever no rule names is refused.

`system:masters` may do everything. A component may do what its work needs. A node's agent may read what pods
need, and write its own Node, its lease, pod statuses and events. Anybody authenticated may look at discovery
and version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.apiserver.auth.authn import AUTHENTICATED, User
from kubeapi.errors import Forbidden

READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked, in the words of RBAC."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Of a request that is not about a resource; then the rest is empty."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Grants each verb on each resource. "*" is every one; a resource is `plural` or `plural/subresource`."""

    verbs: Sequence[str]
    resources: Sequence[str] = ()
    groups: Sequence[str] = ("*",)
    paths: Sequence[str] = ()
    """Prefixes when they end in `*`."""

    def grants(self, ask: Attributes) -> bool:
        if ask.verb not in self.verbs and "*" not in self.verbs:
            return False
        if not ask.resource:
            return any(
                ask.path == path or (path.endswith("*") and ask.path.startswith(path[:-1])) for path in self.paths
            )
        what = f"{ask.resource}/{ask.subresource}" if ask.subresource else ask.resource
        return ("*" in self.resources or what in self.resources) and ("*" in self.groups or ask.group in self.groups)


EVERYTHING = Rule(verbs=("*",), resources=("*",), paths=("*",))
DISCOVERY = Rule(verbs=("get",), paths=("/api", "/api/*", "/apis", "/apis/*", "/openapi/*", "/version", "/version/*"))
HEALTH = Rule(verbs=("get",), paths=("/healthz", "/livez", "/readyz", "/healthz/*", "/livez/*", "/readyz/*"))
SELF_REVIEW = Rule(
    verbs=("create",),
    resources=("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"),
)
EVENTS_AND_LEASES = Rule(verbs=(*READ, *WRITE), resources=("events", "leases"))
READ_ALL = Rule(verbs=READ, resources=("*",))

USERS: dict[str, tuple[Rule, ...]] = {
    "system:kube-controller-manager": (Rule(verbs=("*",), resources=("*",)),),
    "system:kube-scheduler": (
        READ_ALL,
        EVENTS_AND_LEASES,
        Rule(verbs=("create",), resources=("pods/binding", "bindings")),
        Rule(verbs=("update", "patch"), resources=("pods/status",)),
        Rule(verbs=("delete",), resources=("pods",)),
        # It names the node where a claim that waits for its first consumer is to be provisioned.
        Rule(verbs=("update", "patch"), resources=("persistentvolumeclaims", "persistentvolumes")),
    ),
}
GROUPS: dict[str, tuple[Rule, ...]] = {
    "system:masters": (EVERYTHING,),
    "system:nodes": (
        READ_ALL,
        EVENTS_AND_LEASES,
        Rule(verbs=("create", "update", "patch"), resources=("nodes", "nodes/status")),
        Rule(verbs=("update", "patch"), resources=("pods/status",)),
        Rule(verbs=("create", "delete"), resources=("pods",)),
        # The node that has a volume's directory removes it, and then its own finalizer.
        Rule(verbs=("update", "patch"), resources=("persistentvolumes",)),
        Rule(verbs=("create",), resources=("serviceaccounts/token", "pods/eviction")),
        Rule(verbs=("create", "get"), resources=("certificatesigningrequests",)),
    ),
    AUTHENTICATED: (DISCOVERY, HEALTH, SELF_REVIEW),
}


class Authorizer:
    def __init__(self, extra: Iterable[tuple[str, Rule]] = ()) -> None:
        """`extra` are (user or group, rule) pairs beyond the cluster's own."""
        self._extra = list(extra)

    def allows(self, user: User, ask: Attributes) -> bool:
        if not self._in_own_yard(user, ask):
            return False
        rules = [*USERS.get(user.name, ())]
        for group in user.groups:
            rules.extend(GROUPS.get(group, ()))
        rules.extend(rule for who, rule in self._extra if who == user.name or who in user.groups)
        return any(rule.grants(ask) for rule in rules)

    def check(self, user: User, ask: Attributes) -> None:
        if not self.allows(user, ask):
            raise refusal(user, ask)

    @staticmethod
    def _in_own_yard(user: User, ask: Attributes) -> bool:
        """A node that is not its own administrator writes only the Node of its name."""
        if "system:nodes" not in user.groups or "system:masters" in user.groups or ask.resource != "nodes":
            return True
        if ask.verb in READ or ask.verb == "create":
            return True
        return user.name == f"system:node:{ask.name}"


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
