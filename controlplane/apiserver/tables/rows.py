"""The rows of the other kinds that kubectl users know by heart; cells in the order of `columns`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from controlplane.apiserver.tables.text import age, joined, pairs
from kubeapi.meta import get_condition, is_true
from kubeapi.selectors import format_label_selector
from kubeapi.types import (
    apps_v1,
    batch_v1,
    coordination_v1,
    core_v1,
    discovery_v1,
    networking_v1,
    scheduling_v1,
    storage_v1,
)

ROLE = "node-role.kubernetes.io/"
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _born(obj: Any, now: datetime) -> str:
    return age(obj.metadata.creation_timestamp, now)


def _template(spec: Any) -> list[str]:
    containers = spec.template.spec.containers
    return [
        joined(c.name for c in containers),
        joined(c.image for c in containers),
        format_label_selector(spec.selector) or "<none>",
    ]


def deployment(d: apps_v1.Deployment, now: datetime) -> list[Any]:
    wanted = d.spec.replicas if d.spec.replicas is not None else 1
    status = d.status
    return [
        d.metadata.name,
        f"{status.ready_replicas}/{wanted}",
        status.updated_replicas,
        status.available_replicas,
        _born(d, now),
        *_template(d.spec),
    ]


def replica_set(r: apps_v1.ReplicaSet, now: datetime) -> list[Any]:
    wanted = r.spec.replicas if r.spec.replicas is not None else 1
    return [r.metadata.name, wanted, r.status.replicas, r.status.ready_replicas, _born(r, now), *_template(r.spec)]


def stateful_set(s: apps_v1.StatefulSet, now: datetime) -> list[Any]:
    return [
        s.metadata.name,
        f"{s.status.ready_replicas}/{s.spec.replicas if s.spec.replicas is not None else 1}",
        _born(s, now),
        *_template(s.spec)[:2],
    ]


def daemon_set(d: apps_v1.DaemonSet, now: datetime) -> list[Any]:
    s = d.status
    return [
        d.metadata.name,
        s.desired_number_scheduled,
        s.current_number_scheduled,
        s.number_ready,
        s.updated_number_scheduled,
        s.number_available,
        pairs(d.spec.template.spec.node_selector),
        _born(d, now),
        *_template(d.spec),
    ]


def job(j: batch_v1.Job, now: datetime) -> list[Any]:
    if is_true(j.status.conditions, "Complete"):
        state = "Complete"
    elif is_true(j.status.conditions, "Failed"):
        state = "Failed"
    else:
        state = "Suspended" if j.spec.suspend else "Running"
    wanted = j.spec.completions if j.spec.completions is not None else 1
    begun, ended = j.status.start_time, j.status.completion_time
    took = "" if begun is None else age(begun, ended or now)
    return [j.metadata.name, state, f"{j.status.succeeded}/{wanted}", took, _born(j, now), *_template(j.spec)]


def cron_job(c: batch_v1.CronJob, now: datetime) -> list[Any]:
    last = c.status.last_schedule_time
    return [
        c.metadata.name,
        c.spec.schedule,
        c.spec.time_zone or "<none>",
        str(bool(c.spec.suspend)),
        len(c.status.active),
        age(last, now) if last else "<none>",
        _born(c, now),
    ]


def service(s: core_v1.Service, now: datetime) -> list[Any]:
    spec = s.spec
    if spec.type == "ExternalName":
        external = spec.external_name
    elif spec.type == "LoadBalancer":
        external = joined((i.ip or i.hostname for i in s.status.load_balancer.ingress), "<pending>")
    else:
        external = joined(spec.external_ips)
    ports = (f"{p.port}{f':{p.node_port}' if p.node_port else ''}/{p.protocol}" for p in spec.ports)
    return [
        s.metadata.name,
        spec.type,
        spec.cluster_ip or "<none>",
        external,
        joined(ports),
        _born(s, now),
        pairs(spec.selector),
    ]


def endpoints(e: core_v1.Endpoints, now: datetime) -> list[Any]:
    found = [f"{a.ip}:{p.port}" for s in e.subsets for p in (s.ports or [core_v1.EndpointPort()]) for a in s.addresses]
    shown = joined(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")
    return [e.metadata.name, shown, _born(e, now)]


def endpoint_slice(e: discovery_v1.EndpointSlice, now: datetime) -> list[Any]:
    addresses = [a for endpoint in e.endpoints for a in endpoint.addresses]
    shown = joined(addresses[:3], "<unset>") + (f" + {len(addresses) - 3} more..." if len(addresses) > 3 else "")
    return [
        e.metadata.name,
        e.address_type,
        joined((str(p.port) for p in e.ports), "<unset>"),
        shown,
        _born(e, now),
    ]


def node(n: core_v1.Node, now: datetime) -> list[Any]:
    condition = get_condition(n.status.conditions, "Ready")
    words = ["Unknown" if condition is None else "Ready" if condition.status == "True" else "NotReady"]
    if n.spec.unschedulable:
        words.append("SchedulingDisabled")
    roles = sorted(k.removeprefix(ROLE) for k in n.metadata.labels if k.startswith(ROLE))
    addresses = {a.type: a.address for a in n.status.addresses}
    info = n.status.node_info
    return [
        n.metadata.name,
        ",".join(words),
        joined(roles),
        _born(n, now),
        info.kubelet_version,
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.os_image or "<unknown>",
        info.kernel_version or "<unknown>",
        info.container_runtime_version or "<unknown>",
    ]


def namespace(n: core_v1.Namespace, now: datetime) -> list[Any]:
    return [n.metadata.name, n.status.phase, _born(n, now)]


def config_map(c: core_v1.ConfigMap, now: datetime) -> list[Any]:
    return [c.metadata.name, len(c.data) + len(c.binary_data), _born(c, now)]


def secret(s: core_v1.Secret, now: datetime) -> list[Any]:
    return [s.metadata.name, s.type, len(s.data), _born(s, now)]


def service_account(s: core_v1.ServiceAccount, now: datetime) -> list[Any]:
    return [s.metadata.name, len(s.secrets), _born(s, now)]


def persistent_volume(v: core_v1.PersistentVolume, now: datetime) -> list[Any]:
    claim = v.spec.claim_ref
    return [
        v.metadata.name,
        str(v.spec.capacity.get("storage", "")),
        joined((_MODES.get(m, m) for m in v.spec.access_modes), ""),
        v.spec.persistent_volume_reclaim_policy,
        "Terminating" if v.metadata.deletion_timestamp else v.status.phase,
        f"{claim.namespace}/{claim.name}" if claim else "",
        v.spec.storage_class_name,
        v.spec.volume_attributes_class_name or "<unset>",
        v.status.reason,
        _born(v, now),
        v.spec.volume_mode or "<unset>",
    ]


def persistent_volume_claim(c: core_v1.PersistentVolumeClaim, now: datetime) -> list[Any]:
    bound = bool(c.spec.volume_name)
    return [
        c.metadata.name,
        "Terminating" if c.metadata.deletion_timestamp else c.status.phase,
        c.spec.volume_name,
        str(c.status.capacity.get("storage", "")) if bound else "",
        joined((_MODES.get(m, m) for m in c.status.access_modes), "") if bound else "",
        c.spec.storage_class_name or "",
        c.spec.volume_attributes_class_name or "<unset>",
        _born(c, now),
        c.spec.volume_mode or "<unset>",
    ]


def storage_class(s: storage_v1.StorageClass, now: datetime) -> list[Any]:
    default = s.metadata.annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        s.metadata.name + (" (default)" if default else ""),
        s.provisioner,
        s.reclaim_policy or "Delete",
        s.volume_binding_mode or "Immediate",
        bool(s.allow_volume_expansion),
        _born(s, now),
    ]


def event(e: core_v1.Event, now: datetime) -> list[Any]:
    first = e.first_timestamp or e.metadata.creation_timestamp
    last = e.last_timestamp or first
    seen = age(last, now)
    if e.count > 1:
        seen = f"{seen} (x{e.count} over {age(first, now)})"
    source = e.source.component or e.reporting_component
    return [
        seen,
        e.type,
        e.reason,
        f"{e.involved_object.kind.lower()}/{e.involved_object.name}",
        e.involved_object.field_path,
        f"{source}, {e.source.host}" if e.source.host else source,
        e.message.strip(),
        age(first, now),
        e.count or 1,
        e.metadata.name,
    ]


def lease(lease: coordination_v1.Lease, now: datetime) -> list[Any]:
    return [lease.metadata.name, lease.spec.holder_identity or "", _born(lease, now)]


def ingress(i: networking_v1.Ingress, now: datetime) -> list[Any]:
    hosts = joined((r.host or "*" for r in i.spec.rules), "*")
    addresses = joined((a.ip or a.hostname for a in i.status.load_balancer.ingress), "")
    ports = "80, 443" if i.spec.tls else "80"
    return [i.metadata.name, i.spec.ingress_class_name or "<none>", hosts, addresses, ports, _born(i, now)]


def priority_class(p: scheduling_v1.PriorityClass, now: datetime) -> list[Any]:
    return [p.metadata.name, p.value, p.global_default, _born(p, now), p.preemption_policy or "PreemptLowerPriority"]
