"""Nodes, namespaces, ConfigMaps, Secrets, claims and volumes; and every other kind, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from fractions import Fraction
from typing import Any

from kubectl_lite.describe.lines import NONE, Lines, Object, created, events, metadata
from kubectl_lite.durations import age, rfc1123

Related = Mapping[str, Sequence[Object]]
ROLE = "node-role.kubernetes.io/"


def node(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    labels = metadata(obj).get("labels") or {}
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Roles", ",".join(sorted(k.removeprefix(ROLE) for k in labels if k.startswith(ROLE))) or NONE)
    lines.map("Labels", labels)
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.pair("CreationTimestamp", created(obj))
    taints = [taint_text(t) for t in spec.get("taints") or []] or [NONE]
    lines.pair("Taints", taints[0])
    for text in taints[1:]:
        lines.add(f"\t{text}")
    lines.pair("Unschedulable", str(bool(spec.get("unschedulable"))).lower())
    _lease(lines, obj, related.get("leases", []))
    if status.get("conditions"):
        lines.add("Conditions:")
        titles = ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message")
        lines.add("\t".join(titles), 1)
        lines.add("\t".join("-" * len(title) for title in titles), 1)
        for c in status["conditions"]:
            times = rfc1123(c.get("lastHeartbeatTime", "")), rfc1123(c.get("lastTransitionTime", ""))
            cells = (c["type"], c["status"], *times, c.get("reason", ""), c.get("message", ""))
            lines.add(f"{cells[0]} \t{cells[1]} \t{cells[2]} \t{cells[3]} \t{cells[4]} \t{cells[5]} ", 1)
    lines.add("Addresses:")
    for address in status.get("addresses") or []:
        lines.pair(address["type"], address["address"], 1)
    for title, field in (("Capacity", "capacity"), ("Allocatable", "allocatable")):
        if status.get(field):
            lines.add(f"{title}:")
        for name, amount in sorted((status.get(field) or {}).items()):
            lines.pair(name, amount, 1)
    lines.add("System Info:")
    info = status.get("nodeInfo") or {}
    for title, field in (
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ):
        lines.pair(title, info.get(field, ""), 1)
    if spec.get("podCIDR"):
        lines.pair("PodCIDR", spec["podCIDR"])
        lines.pair("PodCIDRs", ",".join(spec.get("podCIDRs") or [spec["podCIDR"]]))
    _pods_of_node(lines, obj, related.get("pods", []), now)
    events(lines, related.get("events"), now)
    return lines.text


def _lease(lines: Lines, obj: Object, found: Sequence[Object]) -> None:
    """The node's heartbeat."""
    name = metadata(obj)["name"]
    lease = next((one for one in found if metadata(one)["name"] == name), None)
    if lease is None:
        lines.pair("Lease", f'Failed to get lease: leases.coordination.k8s.io "{name}" not found')
        return
    spec = lease.get("spec", {})
    lines.add("Lease:")
    lines.pair("HolderIdentity", spec.get("holderIdentity", "<unset>"), 1)
    lines.pair("AcquireTime", rfc1123(spec["acquireTime"]) if spec.get("acquireTime") else "<unset>", 1)
    lines.pair("RenewTime", rfc1123(spec["renewTime"]) if spec.get("renewTime") else "<unset>", 1)


def taint_text(taint: Object) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint.get('effect', '')}"


def _pods_of_node(lines: Lines, obj: Object, pods: Sequence[Object], now: datetime) -> None:
    from kubeapi.quantity import parse

    alive = [p for p in pods if p.get("status", {}).get("phase") not in ("Succeeded", "Failed")]
    lines.add(f"Non-terminated Pods:\t({len(alive)} in total)")
    titles = ("Namespace", "Name", "CPU Requests", "CPU Limits", "Memory Requests", "Memory Limits", "Age")
    # The names' column is wider by an empty one.
    lines.add("\t".join(titles).replace("Name\t", "Name\t\t"), 1)
    ruler = ["---" if t == "Age" else "-" * len(t) for t in titles]
    lines.add("\t".join([ruler[0], ruler[1], "", *ruler[2:]]), 1)
    have = (obj.get("status") or {}).get("allocatable") or {}
    totals: dict[tuple[str, str], Fraction] = {}
    for pod in alive:
        cells = []
        for resource in ("cpu", "memory", "ephemeral-storage"):
            for kind in ("requests", "limits"):
                amount = sum(
                    (
                        parse(((c.get("resources") or {}).get(kind) or {}).get(resource, "0"))
                        for c in pod["spec"].get("containers") or []
                    ),
                    Fraction(0),
                )
                totals[resource, kind] = totals.get((resource, kind), Fraction(0)) + amount
                if resource != "ephemeral-storage":
                    cells.append(_share(resource, amount, have))
        cells.append(age(metadata(pod).get("creationTimestamp", ""), now))
        lines.add("\t".join([metadata(pod)["namespace"], metadata(pod)["name"], "", *cells]), 1)
    lines.add("Allocated resources:")
    lines.add("(Total limits may be over 100 percent, i.e., overcommitted.)", 1)
    lines.table(
        ("Resource", "Requests", "Limits"),
        [
            [r, *(_share(r, totals.get((r, k), Fraction(0)), have) for k in ("requests", "limits"))]
            for r in ("cpu", "memory", "ephemeral-storage")
        ],
    )


def _share(resource: str, amount: Fraction, have: Object) -> str:
    from kubeapi.quantity import parse

    whole = parse(have.get(resource, "0"))
    percent = int(amount * 100 / whole) if whole else 0
    if amount == 0:
        text = "0"
    elif resource == "cpu":
        text = str(int(amount)) if amount.denominator == 1 else f"{int(amount * 1000)}m"
    else:
        units = (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10), ("", 1))
        text = next(f"{int(amount) // size}{unit}" for unit, size in units if int(amount) % size == 0)
    return f"{text} ({percent}%)"


def namespace(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj)
    lines.pair("Status", obj.get("status", {}).get("phase", ""))
    for title, plural, none in (
        ("Resource Quotas", "resourcequotas", "No resource quota."),
        ("Resource Limits", "limitranges", "No LimitRange resource."),
    ):
        names = ", ".join(metadata(o)["name"] for o in related.get(plural, []))
        lines.text += ["", f"{title}: {names}" if names else none]
    return lines.text


def config_map(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj)
    lines.add("")
    lines.add("Data")
    lines.add("====")
    for key, value in sorted((obj.get("data") or {}).items()):
        lines.text += [f"{key}:", "----", *value.split("\n"), ""]
    lines.add("")
    lines.text += ["BinaryData", "===="]
    for key, value in sorted((obj.get("binaryData") or {}).items()):
        lines.add(f"{key}: {decoded_size(value)} bytes")
    lines.add("")
    events(lines, related.get("events"), now)
    return lines.text


def decoded_size(text: str) -> int:
    return len(text) * 3 // 4 - text.count("=", -2)


def secret(obj: Object, related: Related, now: datetime) -> list[str]:
    """Sizes, never contents."""
    lines = Lines()
    lines.head(obj)
    lines.add("")
    lines.pair("Type", obj.get("type", ""))
    lines.add("")
    lines.text += ["Data", "===="]
    for key, value in sorted((obj.get("data") or {}).items()):
        lines.pair(key, f"{decoded_size(value)} bytes")
    return lines.text


def anything(obj: Object, related: Related, now: datetime) -> list[str]:
    """Every field, the way they nest."""
    lines = Lines()
    lines.head(obj)
    lines.pair("API Version", obj.get("apiVersion", ""))
    lines.pair("Kind", obj.get("kind", ""))
    lines.add("Metadata:")
    lines.pair("Creation Timestamp", metadata(obj).get("creationTimestamp", ""), 1)
    for field, value in sorted(obj.items()):
        if field not in ("apiVersion", "kind", "metadata"):
            _field(lines, field, value, 0)
    events(lines, related.get("events"), now)
    return lines.text


def _title(field: str) -> str:
    spaced = "".join(f" {c}" if c.isupper() and not field[i - 1 : i].isupper() else c for i, c in enumerate(field))
    return (spaced[:1].upper() + spaced[1:]).strip()


def _field(lines: Lines, field: str, value: Any, level: int) -> None:
    title = _title(field)
    if isinstance(value, dict):
        lines.add(f"{title}:", level)
        for name, inner in sorted(value.items()):
            _field(lines, name, inner, level + 1)
    elif isinstance(value, list):
        lines.add(f"{title}:", level)
        for item in value:
            if isinstance(item, dict):
                for name, inner in sorted(item.items()):
                    _field(lines, name, inner, level + 1)
            else:
                lines.add(str(item), level + 1)
    else:
        lines.pair(title, str(value).lower() if isinstance(value, bool) else value, level)
