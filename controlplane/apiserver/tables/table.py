"""Server-side tables: the columns of each resource, and objects as rows. Source: Kubernetes API concepts, "Resource
types fetched as Tables". A column written `Name+` is shown in wide output only (priority 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from controlplane.apiserver.items import Item
from controlplane.apiserver.tables import pods, rows, rules
from controlplane.apiserver.versions import twin_of
from kubeapi.meta import Table, TableColumnDefinition, TableRow
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1

IncludeObject = Literal["None", "Metadata", "Object"]
RowOf = Callable[[Any, datetime], list[Any]]

_TEMPLATE = "Containers+|Images+|Selector+"
_BINDING = "Name|Role|Age|Users+|Groups+|ServiceAccounts+"
COLUMNS: dict[str, tuple[str, RowOf]] = {
    "pods": ("Name|Ready|Status|Restarts|Age|IP+|Node+|Nominated Node+|Readiness Gates+", pods.row),
    "deployments.apps": (f"Name|Ready|Up-to-date#|Available#|Age|{_TEMPLATE}", rows.deployment),
    "replicasets.apps": (f"Name|Desired#|Current#|Ready#|Age|{_TEMPLATE}", rows.replica_set),
    "statefulsets.apps": ("Name|Ready|Age|Containers+|Images+", rows.stateful_set),
    "daemonsets.apps": (
        f"Name|Desired#|Current#|Ready#|Up-to-date#|Available#|Node Selector|Age|{_TEMPLATE}",
        rows.daemon_set,
    ),
    "jobs.batch": (f"Name|Status|Completions|Duration|Age|{_TEMPLATE}", rows.job),
    "cronjobs.batch": ("Name|Schedule|Timezone|Suspend|Active#|Last Schedule|Age", rows.cron_job),
    "services": ("Name|Type|Cluster-IP|External-IP|Port(s)|Age|Selector+", rows.service),
    "endpoints": ("Name|Endpoints|Age", rows.endpoints),
    "endpointslices.discovery.k8s.io": ("Name|AddressType|Ports|Endpoints|Age", rows.endpoint_slice),
    "nodes": (
        "Name|Status|Roles|Age|Version|Internal-IP+|External-IP+|OS-Image+|Kernel-Version+|Container-Runtime+",
        rows.node,
    ),
    "namespaces": ("Name|Status|Age", rows.namespace),
    "configmaps": ("Name|Data#|Age", rows.config_map),
    "secrets": ("Name|Type|Data#|Age", rows.secret),
    "serviceaccounts": ("Name|Secrets#|Age", rows.service_account),
    "persistentvolumes": (
        "Name|Capacity|Access Modes|Reclaim Policy|Status|Claim|StorageClass|VolumeAttributesClass|Reason|Age|VolumeMode+",
        rows.persistent_volume,
    ),
    "persistentvolumeclaims": (
        "Name|Status|Volume|Capacity|Access Modes|StorageClass|VolumeAttributesClass|Age|VolumeMode+",
        rows.persistent_volume_claim,
    ),
    "storageclasses.storage.k8s.io": (
        "Name|Provisioner|ReclaimPolicy|VolumeBindingMode|AllowVolumeExpansion!|Age",
        rows.storage_class,
    ),
    "events": (
        "Last Seen|Type|Reason|Object|Subobject+|Source+|Message|First Seen+|Count+|Name+",
        rows.event,
    ),
    "leases.coordination.k8s.io": ("Name|Holder|Age", rows.lease),
    "ingresses.networking.k8s.io": ("Name|Class|Hosts|Address|Ports|Age", rows.ingress),
    "priorityclasses.scheduling.k8s.io": (
        "Name|Value#|Global-Default!|Age|PreemptionPolicy",
        rows.priority_class,
    ),
    "poddisruptionbudgets.policy": (
        "Name|Min Available|Max Unavailable|Allowed Disruptions#|Age",
        rules.disruption_budget,
    ),
    "horizontalpodautoscalers.autoscaling": (
        "Name|Reference|Targets|MinPods|MaxPods#|Replicas#|Age",
        rules.autoscaler,
    ),
    "networkpolicies.networking.k8s.io": ("Name|Pod-Selector|Age", rules.network_policy),
    "ingressclasses.networking.k8s.io": ("Name|Controller|Parameters|Age", rules.ingress_class),
    "resourcequotas": ("Name|Request|Limit|Age", rules.resource_quota),
    "replicationcontrollers": (f"Name|Desired#|Current#|Ready#|Age|{_TEMPLATE}", rules.replication_controller),
    "rolebindings.rbac.authorization.k8s.io": (_BINDING, rules.role_binding),
    "clusterrolebindings.rbac.authorization.k8s.io": (_BINDING, rules.role_binding),
    "controllerrevisions.apps": ("Name|Controller|Revision#|Age", rules.controller_revision),
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": ("Name|Webhooks#|Age", rules.webhooks),
    "validatingwebhookconfigurations.admissionregistration.k8s.io": ("Name|Webhooks#|Age", rules.webhooks),
    "runtimeclasses.node.k8s.io": ("Name|Handler|Age", rules.runtime_class),
}


def _plain_row(obj: Any, now: datetime) -> list[Any]:
    created = obj.metadata.creation_timestamp
    return [obj.metadata.name, created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else ""]


_PLAIN: tuple[str, RowOf] = ("Name|Created At", _plain_row)


def _columns(resource: Resource) -> tuple[str, RowOf]:
    twin = twin_of(resource)
    return COLUMNS.get(twin.stored.qualified if twin is not None else resource.qualified, _PLAIN)


def columns_of(resource: Resource) -> list[TableColumnDefinition]:
    found = []
    for word in _columns(resource)[0].split("|"):
        name = word.rstrip("+#!")
        kind = "integer" if "#" in word else "boolean" if "!" in word else "string"
        found.append(
            TableColumnDefinition(
                name=name, type=kind, format="name" if name == "Name" else "", priority=1 if "+" in word else 0
            )
        )
    return found


def make_table(
    resource: Resource,
    items: Sequence[Item],
    now: datetime,
    *,
    revision: int,
    continue_: str = "",
    remaining: int = 0,
    include: IncludeObject = "Metadata",
    with_columns: bool = True,
) -> Table:
    """`with_columns` False for all but the first event of a watch."""
    twin = twin_of(resource)
    row_of = _columns(resource)[1]

    def cells(obj: Any) -> list[Any]:
        return row_of(twin.up(obj) if twin is not None else obj, now)

    return Table(
        metadata=meta_v1.ListMeta(
            resource_version=str(revision),
            continue_=continue_,
            remaining_item_count=remaining or None,
        ),
        column_definitions=columns_of(resource) if with_columns else [],
        rows=[TableRow(cells=cells(i.object), object=_shown(i, include)) for i in items],
    )


def _shown(item: Item, include: IncludeObject) -> Any:
    if include == "None":
        return None
    if include == "Object":
        return msgspec.Raw(item.json)
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item.object.metadata}
