"""The rows of what bounds or binds others: budgets, autoscalers, policies, quotas, roles' bindings, revisions, webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.apiserver.tables.text import age, joined
from kubeapi.selectors import format_label_selector
from kubeapi.types import (
    admissionregistration_v1,
    apps_v1,
    autoscaling_v2,
    core_v1,
    networking_v1,
    node_v1,
    policy_v1,
    rbac_v1,
)

_MOST_TARGETS = 3


def _born(obj: Any, now: datetime) -> str:
    return age(obj.metadata.creation_timestamp, now)


def disruption_budget(b: policy_v1.PodDisruptionBudget, now: datetime) -> list[Any]:
    bounds = (b.spec.min_available, b.spec.max_unavailable)
    shown = ["N/A" if bound is None else str(bound) for bound in bounds]
    return [b.metadata.name, *shown, b.status.disruptions_allowed, _born(b, now)]


def autoscaler(h: autoscaling_v2.HorizontalPodAutoscaler, now: datetime) -> list[Any]:
    target, spec = h.spec.scale_target_ref, h.spec
    return [
        h.metadata.name,
        f"{target.kind}/{target.name}",
        _targets(h),
        "<unset>" if spec.min_replicas is None else str(spec.min_replicas),
        spec.max_replicas,
        h.status.current_replicas or 0,
        _born(h, now),
    ]


def _targets(h: autoscaling_v2.HorizontalPodAutoscaler) -> str:
    shown = []
    for i, metric in enumerate(h.spec.metrics):
        told = h.status.current_metrics[i] if i < len(h.status.current_metrics) else None
        if metric.resource is None:
            shown.append("<unknown>")
            continue
        wanted = metric.resource.target
        seen = told.resource.current if told is not None and told.resource is not None else None
        if wanted.average_utilization is not None:
            use = seen.average_utilization if seen is not None else None
            now_ = "<unknown>" if use is None else f"{use}%"
            shown.append(f"{metric.resource.name}: {now_}/{wanted.average_utilization}%")
        else:
            value = seen.average_value if seen is not None else None
            shown.append(f"{metric.resource.name}: {'<unknown>' if value is None else value}/{wanted.average_value}")
    more = f" + {len(shown) - _MOST_TARGETS} more..." if len(shown) > _MOST_TARGETS else ""
    return joined(shown[:_MOST_TARGETS]).replace(",", ", ") + more


def network_policy(n: networking_v1.NetworkPolicy, now: datetime) -> list[Any]:
    return [n.metadata.name, format_label_selector(n.spec.pod_selector) or "<none>", _born(n, now)]


def ingress_class(c: networking_v1.IngressClass, now: datetime) -> list[Any]:
    found = c.spec.parameters
    kind = f"{found.kind}.{found.api_group}" if found is not None and found.api_group else found.kind if found else ""
    return [c.metadata.name, c.spec.controller, f"{kind}/{found.name}" if found else "<none>", _born(c, now)]


def resource_quota(q: core_v1.ResourceQuota, now: datetime) -> list[Any]:
    shown = {name: f"{name}: {q.status.used.get(name, 0)}/{hard}" for name, hard in sorted(q.status.hard.items())}
    limits = [text for name, text in shown.items() if name.startswith("limits.")]
    requests = [text for name, text in shown.items() if not name.startswith("limits.")]
    return [q.metadata.name, ", ".join(requests), ", ".join(limits), _born(q, now)]


def replication_controller(r: core_v1.ReplicationController, now: datetime) -> list[Any]:
    wanted = r.spec.replicas if r.spec.replicas is not None else 1
    containers = r.spec.template.spec.containers if r.spec.template is not None else []
    return [
        r.metadata.name,
        wanted,
        r.status.replicas,
        r.status.ready_replicas,
        _born(r, now),
        joined(c.name for c in containers),
        joined(c.image for c in containers),
        joined(f"{k}={v}" for k, v in sorted(r.spec.selector.items())),
    ]


def role_binding(b: rbac_v1.RoleBinding | rbac_v1.ClusterRoleBinding, now: datetime) -> list[Any]:
    by = {
        kind: joined((s.name for s in b.subjects if s.kind == kind), "").replace(",", ", ")
        for kind in ("User", "Group")
    }
    accounts = (f"{s.namespace}/{s.name}" for s in b.subjects if s.kind == "ServiceAccount")
    role = f"{b.role_ref.kind}/{b.role_ref.name}"
    return [b.metadata.name, role, _born(b, now), by["User"], by["Group"], ", ".join(accounts)]


def controller_revision(r: apps_v1.ControllerRevision, now: datetime) -> list[Any]:
    owner = next((o for o in r.metadata.owner_references if o.controller), None)
    group = owner.api_version.rpartition("/")[0] if owner is not None else ""
    by = f"{owner.kind.lower()}{f'.{group}' if group else ''}/{owner.name}" if owner is not None else "<none>"
    return [r.metadata.name, by, r.revision, _born(r, now)]


def webhooks(
    c: admissionregistration_v1.MutatingWebhookConfiguration | admissionregistration_v1.ValidatingWebhookConfiguration,
    now: datetime,
) -> list[Any]:
    return [c.metadata.name, len(c.webhooks), _born(c, now)]


def runtime_class(r: node_v1.RuntimeClass, now: datetime) -> list[Any]:
    return [r.metadata.name, r.handler, _born(r, now)]
