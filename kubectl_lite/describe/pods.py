"""Pods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubectl_lite.describe.lines import NONE, Lines, Object, controller, events, metadata
from kubectl_lite.describe.templates import constraints, containers, tolerations, volumes
from kubectl_lite.durations import age, rfc1123


def pod(obj: Object, related: Mapping[str, Sequence[Object]], now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    if spec.get("priority") is not None:
        lines.pair("Priority", spec["priority"])
    if spec.get("priorityClassName"):
        lines.pair("Priority Class Name", spec["priorityClassName"])
    if spec.get("runtimeClassName"):
        lines.pair("Runtime Class Name", spec["runtimeClassName"])
    if spec.get("serviceAccountName"):
        lines.pair("Service Account", spec["serviceAccountName"])
    node = spec.get("nodeName", "")
    lines.pair("Node", f"{node}/{status.get('hostIP', '')}" if node else NONE)
    if status.get("startTime"):
        lines.pair("Start Time", rfc1123(status["startTime"]))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    if ended := metadata(obj).get("deletionTimestamp"):
        lines.pair("Status", f"Terminating (lasts {age(ended, now)})")
        lines.pair("Termination Grace Period", f"{metadata(obj).get('deletionGracePeriodSeconds', 0)}s")
    else:
        lines.pair("Status", status.get("phase", ""))
    for field in ("reason", "message"):
        if status.get(field):
            lines.pair(field.capitalize(), status[field])
    _security(lines, spec.get("securityContext") or {})
    lines.pair("IP", status.get("podIP", ""))
    ips = status.get("podIPs") or []
    if ips:
        lines.add("IPs:")
        for ip in ips:
            lines.pair("IP", ip.get("ip", ""), 1)
    else:
        lines.pair("IPs", NONE)
    if owner := controller(obj):
        lines.pair("Controlled By", owner)
    if status.get("nominatedNodeName"):
        lines.pair("NominatedNodeName", status["nominatedNodeName"])
    for field, label, statuses in (
        ("initContainers", "Init Containers", "initContainerStatuses"),
        ("containers", "Containers", "containerStatuses"),
        ("ephemeralContainers", "Ephemeral Containers", "ephemeralContainerStatuses"),
    ):
        if spec.get(field):
            containers(lines, label, spec[field], {s["name"]: s for s in status.get(statuses) or []}, pod=obj)
    gates = [g["conditionType"] for g in spec.get("readinessGates") or []]
    if gates:
        states = {c["type"]: c["status"] for c in status.get("conditions") or []}
        lines.add("Readiness Gates:")
        lines.add("Type\tStatus", 1)
        for gate in gates:
            lines.add(f"{gate}\t{states.get(gate, NONE)}", 1)
    conditions = status.get("conditions") or []
    if conditions:
        lines.add("Conditions:")
        lines.add("Type\tStatus", 1)
        for condition in conditions:
            lines.add(f"{condition['type']} \t{condition['status']} ", 1)
    volumes(lines, spec.get("volumes"))
    lines.pair("QoS Class", status.get("qosClass") or qos(spec))
    lines.map("Node-Selectors", spec.get("nodeSelector"))
    tolerations(lines, spec.get("tolerations"))
    constraints(lines, spec.get("topologySpreadConstraints"), level=0)
    events(lines, related.get("events"), now)
    return lines.text


def _security(lines: Lines, context: Object) -> None:
    profile = (context.get("seccompProfile") or {}).get("type")
    if profile:
        lines.pair("SeccompProfile", profile)


def qos(spec: Object) -> str:
    every = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    resources = [c.get("resources") or {} for c in every]
    if not any(r.get("requests") or r.get("limits") for r in resources):
        return "BestEffort"
    for r in resources:
        limits, requests = r.get("limits") or {}, r.get("requests") or {}
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"
