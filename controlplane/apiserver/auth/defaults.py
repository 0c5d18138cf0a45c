"""The roles and bindings that every cluster has. Source: Kubernetes, "Using RBAC Authorization", default roles.

Made at the first start; at every other one, what the cluster needs and somebody took away is put back, unless the object
says `rbac.authorization.kubernetes.io/autoupdate: "false"`.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.apiserver.auth.attributes import AUTHENTICATED, MASTERS
from kubeapi.types import meta_v1
from kubeapi.types.rbac_v1 import AggregationRule, ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
GROUP = "rbac.authorization.k8s.io"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
LOOK = ["get", "list", "watch"]
CHANGE = ["create", "delete", "deletecollection", "patch", "update"]


def rule(verbs: Sequence[str], group: str | Sequence[str], *resources: str) -> PolicyRule:
    groups = [group] if isinstance(group, str) else list(group)
    return PolicyRule(verbs=list(verbs), api_groups=groups, resources=list(resources))


def paths(*urls: str) -> PolicyRule:
    return PolicyRule(verbs=["get"], non_resource_urls=list(urls))


_CORE = (
    "configmaps", "endpoints", "persistentvolumeclaims", "pods", "replicationcontrollers",
    "replicationcontrollers/scale", "serviceaccounts", "services",
)  # fmt: skip
_APPS = (
    "controllerrevisions", "daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale",
    "statefulsets", "statefulsets/scale",
)  # fmt: skip
_NETWORK = ("ingresses", "networkpolicies")

VIEW = [
    rule(LOOK, "", *_CORE, "persistentvolumeclaims/status", "pods/log", "pods/status", "services/status",
         "bindings", "events", "limitranges", "namespaces", "namespaces/status", "resourcequotas", "resourcequotas/status"),
    rule(LOOK, "discovery.k8s.io", "endpointslices"),
    rule(LOOK, "apps", *_APPS, "daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status"),
    rule(LOOK, "autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
    rule(LOOK, "batch", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
    rule(LOOK, "policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
    rule(LOOK, "networking.k8s.io", *_NETWORK, "ingresses/status"),
    rule(LOOK, "events.k8s.io", "events"),
]  # fmt: skip
EDIT = [
    rule(LOOK, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"),
    rule(["impersonate"], "", "serviceaccounts"),
    rule(CHANGE, "", "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"),
    rule(["create"], "", "pods/eviction"),
    rule(CHANGE, "", *(r for r in _CORE if r != "pods"), "secrets", "services/proxy"),
    rule(CHANGE, "events.k8s.io", "events"),
    rule(CHANGE, "", "events"),
    rule(["create"], "", "serviceaccounts/token"),
    rule(CHANGE, "apps", *(r for r in _APPS if r != "controllerrevisions"), "deployments/rollback"),
    rule(CHANGE, "autoscaling", "horizontalpodautoscalers"),
    rule(CHANGE, "batch", "cronjobs", "jobs"),
    rule(CHANGE, "policy", "poddisruptionbudgets"),
    rule(CHANGE, "networking.k8s.io", *_NETWORK),
    rule([*CHANGE, *LOOK], "coordination.k8s.io", "leases"),
]
ADMIN = [
    rule(["create"], "authorization.k8s.io", "localsubjectaccessreviews"),
    rule([*CHANGE, *LOOK], GROUP, "rolebindings", "roles"),
]
EVENTS_AND_LEASES = [
    rule(["create", "patch", "update"], ["", "events.k8s.io"], "events"),
    rule([*CHANGE, *LOOK], "coordination.k8s.io", "leases"),
]
SCHEDULER = [
    rule(LOOK, "*", "*"),
    *EVENTS_AND_LEASES,
    rule(["create"], "", "bindings", "pods/binding"),
    rule(["delete"], "", "pods"),
    rule(["patch", "update"], "", "pods/status"),
    # It names the node where a claim that waits for its first consumer is to be provisioned.
    rule(["patch", "update"], "", "persistentvolumeclaims", "persistentvolumes"),
    rule(["create"], "authentication.k8s.io", "tokenreviews"),
    rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
]
HEALTH = ("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/version", "/version/")
DISCOVERY = (*HEALTH, "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")


def _role(name: str, rules: Sequence[PolicyRule], **labels: str) -> ClusterRole:
    return ClusterRole(metadata=_metadata(name, labels), rules=list(rules))


def _aggregated(name: str, rules: Sequence[PolicyRule], of: str, *to: str) -> ClusterRole:
    made = {_AGGREGATE + other: "true" for other in to}
    selector = meta_v1.LabelSelector(match_labels={_AGGREGATE + of: "true"})
    aggregation = AggregationRule(cluster_role_selectors=[selector])
    return ClusterRole(metadata=_metadata(name, made), rules=list(rules), aggregation_rule=aggregation)


def _metadata(name: str, labels: dict[str, str]) -> meta_v1.ObjectMeta:
    kept = {"kubernetes.io/bootstrapping": "rbac-defaults", **labels}
    return meta_v1.ObjectMeta(name=name, labels=kept, annotations={AUTOUPDATE: "true"})


def _bound(role: str, kind: str, subject: str, name: str = "") -> ClusterRoleBinding:
    return ClusterRoleBinding(
        metadata=_metadata(name or role, {}),
        subjects=[Subject(kind=kind, api_group=GROUP, name=subject)],
        role_ref=RoleRef(api_group=GROUP, kind="ClusterRole", name=role),
    )


def _part(name: str, of: str, rules: Sequence[PolicyRule]) -> ClusterRole:
    return ClusterRole(metadata=_metadata(name, {_AGGREGATE + of: "true"}), rules=list(rules))


def cluster_roles() -> list[ClusterRole]:
    return [
        _role("cluster-admin", [rule(["*"], "*", "*"), PolicyRule(verbs=["*"], non_resource_urls=["*"])]),
        _aggregated("admin", [*ADMIN, *EDIT, *VIEW], "admin"),
        _aggregated("edit", [*EDIT, *VIEW], "edit", "admin"),
        _aggregated("view", VIEW, "view", "edit"),
        _part("system:aggregate-to-admin", "admin", ADMIN),
        ClusterRole(
            metadata=_metadata("system:aggregate-to-edit", {_AGGREGATE + "edit": "true", _AGGREGATE + "admin": "true"}),
            rules=list(EDIT),
        ),
        ClusterRole(
            metadata=_metadata(
                "system:aggregate-to-view",
                {_AGGREGATE + "view": "true", _AGGREGATE + "edit": "true", _AGGREGATE + "admin": "true"},
            ),
            rules=list(VIEW),
        ),
        _role("system:discovery", [paths(*DISCOVERY)]),
        _role("system:public-info-viewer", [paths(*HEALTH)]),
        _role("system:monitoring", [paths(*HEALTH, "/metrics", "/metrics/slis")]),
        _role(
            "system:basic-user",
            [
                rule(["create"], "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
                rule(["create"], "authentication.k8s.io", "selfsubjectreviews"),
            ],
        ),
        _role(
            "system:service-account-issuer-discovery", [paths("/.well-known/openid-configuration", "/openid/v1/jwks")]
        ),
        _role(
            "system:auth-delegator",
            [
                rule(["create"], "authentication.k8s.io", "tokenreviews"),
                rule(["create"], "authorization.k8s.io", "subjectaccessreviews"),
            ],
        ),
        _role("system:kube-scheduler", SCHEDULER),
        _role(
            "system:kube-controller-manager",
            [rule(["*"], "*", "*"), PolicyRule(verbs=["get"], non_resource_urls=["*"])],
        ),
    ]


def cluster_role_bindings() -> list[ClusterRoleBinding]:
    return [
        _bound("cluster-admin", "Group", MASTERS),
        _bound("system:discovery", "Group", AUTHENTICATED),
        _bound("system:basic-user", "Group", AUTHENTICATED),
        _bound("system:public-info-viewer", "Group", AUTHENTICATED),
        _bound("system:monitoring", "Group", "system:monitoring"),
        _bound("system:service-account-issuer-discovery", "Group", "system:serviceaccounts"),
        _bound("system:kube-scheduler", "User", "system:kube-scheduler"),
        _bound("system:kube-controller-manager", "User", "system:kube-controller-manager"),
    ]
