"""Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs, CronJobs, disruption budgets, autoscalers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubectl_lite.describe.lines import NONE, Lines, Object, controller, created, events, metadata, selector_text
from kubectl_lite.describe.templates import containers, template_into, volumes
from kubectl_lite.durations import human, parse_time, rfc1123

Related = Mapping[str, Sequence[Object]]
REVISION = "deployment.kubernetes.io/revision"


def deployment(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    lines.pair("CreationTimestamp", created(obj))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.pair("Selector", selector_text(spec.get("selector")))
    lines.pair(
        "Replicas",
        f"{spec.get('replicas', 1)} desired | {status.get('updatedReplicas', 0)} updated | "
        f"{status.get('replicas', 0)} total | {status.get('availableReplicas', 0)} available | "
        f"{status.get('unavailableReplicas', 0)} unavailable",
    )
    strategy = spec.get("strategy") or {}
    lines.pair("StrategyType", strategy.get("type", ""))
    lines.pair("MinReadySeconds", spec.get("minReadySeconds", 0))
    if rolling := strategy.get("rollingUpdate"):
        most, more = rolling.get("maxUnavailable", ""), rolling.get("maxSurge", "")
        lines.pair("RollingUpdateStrategy", f"{most} max unavailable, {more} max surge")
    template_into(lines, spec.get("template"))
    conditions(lines, status.get("conditions"))
    sets = [s for s in related.get("replicasets", []) if _owned(s, obj)]
    current = (metadata(obj).get("annotations") or {}).get(REVISION)
    new = next((s for s in sets if (metadata(s).get("annotations") or {}).get(REVISION) == current), None)
    old = [s for s in sets if s is not new]
    if sets:
        lines.pair("OldReplicaSets", ", ".join(map(_set_text, old)) or NONE)
        lines.pair("NewReplicaSet", _set_text(new) if new else NONE)
    events(lines, related.get("events"), now)
    return lines.text


def _set_text(replica_set: Object) -> str:
    have, want = replica_set.get("status", {}).get("replicas", 0), replica_set["spec"].get("replicas", 1)
    return f"{metadata(replica_set)['name']} ({have}/{want} replicas created)"


def _owned(obj: Object, owner: Object) -> bool:
    uid = metadata(owner).get("uid")
    return any(r.get("uid") == uid and r.get("controller") for r in metadata(obj).get("ownerReferences") or [])


def conditions(lines: Lines, found: Sequence[Object] | None) -> None:
    if not found:
        return
    lines.add("Conditions:")
    lines.add("Type\tStatus\tReason", 1)
    lines.add("----\t------\t------", 1)
    for condition in found:
        lines.add(f"{condition['type']} \t{condition['status']}\t{condition.get('reason', '')}", 1)


def pods_status(obj: Object, related: Related) -> str:
    counts = {"Running": 0, "Pending": 0, "Succeeded": 0, "Failed": 0}
    for pod in related.get("pods", []):
        phase = pod.get("status", {}).get("phase", "Pending")
        if _owned(pod, obj) and phase in counts:
            counts[phase] += 1
    running, waiting, succeeded, failed = counts.values()
    return f"{running} Running / {waiting} Waiting / {succeeded} Succeeded / {failed} Failed"


def replica_set(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    lines.pair("Selector", selector_text(spec.get("selector")))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    if owner := controller(obj):
        lines.pair("Controlled By", owner)
    lines.pair("Replicas", f"{status.get('replicas', 0)} current / {spec.get('replicas', 1)} desired")
    lines.pair("Pods Status", pods_status(obj, related))
    template_into(lines, spec.get("template"))
    conditions(lines, status.get("conditions"))
    events(lines, related.get("events"), now)
    return lines.text


def stateful_set(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    lines.pair("CreationTimestamp", created(obj))
    lines.pair("Selector", selector_text(spec.get("selector")))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.pair("Replicas", f"{spec.get('replicas', 1)} desired | {status.get('replicas', 0)} total")
    strategy = spec.get("updateStrategy") or {}
    lines.pair("Update Strategy", strategy.get("type", ""))
    if strategy.get("rollingUpdate"):
        lines.pair("Partition", strategy["rollingUpdate"].get("partition", 0), 1)
        if "maxUnavailable" in strategy["rollingUpdate"]:
            lines.pair("MaxUnavailable", strategy["rollingUpdate"]["maxUnavailable"], 1)
    lines.pair("Pods Status", pods_status(obj, related))
    template_into(lines, spec.get("template"))
    claims = spec.get("volumeClaimTemplates") or []
    lines.add("Volume Claims:" + ("" if claims else f"\t{NONE}"))
    for claim in claims:
        inner = claim.get("spec") or {}
        lines.pair("Name", metadata(claim).get("name", ""), 1)
        lines.pair("StorageClass", inner.get("storageClassName", ""), 1)
        lines.map("Labels", metadata(claim).get("labels"), 1)
        lines.annotations("Annotations", metadata(claim).get("annotations"), 1)
        lines.pair("Capacity", ((inner.get("resources") or {}).get("requests") or {}).get("storage", "<default>"), 1)
        lines.pair("Access Modes", f"[{' '.join(inner.get('accessModes') or [])}]", 1)
    events(lines, related.get("events"), now)
    return lines.text


def daemon_set(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    lines.pair("Selector", selector_text(spec.get("selector")))
    lines.pair("Node-Selector", selector_text(spec.get("template", {}).get("spec", {}).get("nodeSelector")))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    for title, field in (
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ):
        lines.add(f"{title}: {status.get(field, 0)}")
    lines.pair("Pods Status", pods_status(obj, related))
    template_into(lines, spec.get("template"))
    events(lines, related.get("events"), now)
    return lines.text


def job(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    if spec.get("selector"):
        lines.pair("Selector", selector_text(spec["selector"]))
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    if owner := controller(obj):
        lines.pair("Controlled By", owner)
    lines.pair("Parallelism", spec.get("parallelism", "<unset>"))
    lines.pair("Completions", spec.get("completions", "<unset>"))
    if spec.get("completionMode"):
        lines.pair("Completion Mode", spec["completionMode"])
    if "suspend" in spec:
        lines.pair("Suspend", str(spec["suspend"]).lower())
    if "backoffLimit" in spec:
        lines.pair("Backoff Limit", spec["backoffLimit"])
    if spec.get("ttlSecondsAfterFinished") is not None:
        lines.pair("TTL Seconds After Finished", spec["ttlSecondsAfterFinished"])
    if status.get("startTime"):
        lines.pair("Start Time", rfc1123(status["startTime"]))
    if status.get("completionTime"):
        lines.pair("Completed At", rfc1123(status["completionTime"]))
        begun, ended = parse_time(status.get("startTime", "")), parse_time(status["completionTime"])
        if begun and ended:
            lines.pair("Duration", human((ended - begun).total_seconds()))
    if spec.get("activeDeadlineSeconds") is not None:
        lines.pair("Active Deadline Seconds", f"{spec['activeDeadlineSeconds']}s")
    active, ready = status.get("active", 0), status.get("ready")
    text = f"{active} Active" + (f" ({ready} Ready)" if ready is not None else "")
    lines.pair("Pods Statuses", f"{text} / {status.get('succeeded', 0)} Succeeded / {status.get('failed', 0)} Failed")
    if spec.get("completionMode") == "Indexed":
        lines.pair("Completed Indexes", status.get("completedIndexes") or NONE)
    template_into(lines, spec.get("template"))
    events(lines, related.get("events"), now)
    return lines.text


def cron_job(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj["spec"], obj.get("status", {})
    lines.head(obj)
    lines.pair("Schedule", spec.get("schedule", ""))
    lines.pair("Concurrency Policy", spec.get("concurrencyPolicy", ""))
    lines.pair("Suspend", _boolean(spec.get("suspend")))
    for title, field in (
        ("Successful Job History Limit", "successfulJobsHistoryLimit"),
        ("Failed Job History Limit", "failedJobsHistoryLimit"),
    ):
        lines.pair(title, spec.get(field, "<unset>"))
    deadline = spec.get("startingDeadlineSeconds")
    lines.pair("Starting Deadline Seconds", f"{deadline}s" if deadline is not None else "<unset>")
    inner = spec.get("jobTemplate", {}).get("spec", {})
    lines.pair("Selector", selector_text(inner["selector"]) if inner.get("selector") else "<unset>")
    lines.pair("Parallelism", inner.get("parallelism", "<unset>"))
    lines.pair("Completions", inner.get("completions", "<unset>"))
    template_into(lines, inner.get("template"))
    last = status.get("lastScheduleTime")
    lines.pair("Last Schedule Time", rfc1123(last) if last else "<unset>")
    lines.pair("Active Jobs", ", ".join(a.get("name", "") for a in status.get("active") or []) or NONE)
    events(lines, related.get("events"), now)
    return lines.text


def _boolean(value: Any) -> str:
    return "<unset>" if value is None else str(bool(value))


def disruption_budget(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    if "minAvailable" in spec:
        lines.pair("Min available", spec["minAvailable"])
    elif "maxUnavailable" in spec:
        lines.pair("Max unavailable", spec["maxUnavailable"])
    lines.pair("Selector", selector_text(spec["selector"]) if spec.get("selector") is not None else "<unset>")
    lines.add("Status:")
    for title, field in (
        ("Allowed disruptions", "disruptionsAllowed"),
        ("Current", "currentHealthy"),
        ("Desired", "desiredHealthy"),
        ("Total", "expectedPods"),
    ):
        lines.pair(title, status.get(field, 0), 2)
    events(lines, related.get("events"), now)
    return lines.text


def autoscaler(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj["spec"], obj.get("status", {})
    lines.head(obj)
    lines.pair("CreationTimestamp", created(obj))
    ref = spec.get("scaleTargetRef", {})
    lines.pair("Reference", f"{ref.get('kind')}/{ref.get('name')}")
    lines.add("Metrics:\t( current / target )")
    current = {m.get("resource", {}).get("name"): m for m in status.get("currentMetrics") or [] if "resource" in m}
    for metric in spec.get("metrics") or []:
        resource = metric.get("resource", {})
        target, now_at = resource.get("target", {}), current.get(resource.get("name"), {}).get("resource", {})
        used = now_at.get("current", {})
        if target.get("averageUtilization") is not None:
            have = f"{used.get('averageUtilization')}% ({used.get('averageValue')})" if used else "<unknown>"
            text = f"{have} / {target['averageUtilization']}%"
            lines.add(f"resource {resource.get('name')} on pods  (as a percentage of request):\t{text}", 1)
        else:
            lines.add(f"{metric.get('type', '').lower()} {resource.get('name', '')}:\t{target}", 1)
    lines.pair("Min replicas", spec.get("minReplicas", "<unset>"))
    lines.pair("Max replicas", spec.get("maxReplicas", ""))
    kind = ref.get("kind", "Deployment")
    have, want = status.get("currentReplicas", 0), status.get("desiredReplicas", 0)
    lines.pair(f"{kind} pods", f"{have} current / {want} desired")
    if status.get("conditions"):
        lines.add("Conditions:")
        lines.table(
            ("Type", "Status", "Reason", "Message"),
            [[c["type"], c["status"], c.get("reason", ""), c.get("message", "")] for c in status["conditions"]],
        )
    events(lines, related.get("events"), now)
    return lines.text


def controller_revision(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj)
    if owner := controller(obj):
        lines.pair("Controlled By", owner)
    lines.pair("Revision", obj.get("revision", 0))
    spec = obj.get("data")  # a controller's own: of any shape
    for step in ("spec", "template", "spec"):
        spec = spec.get(step) if isinstance(spec, dict) else None
    spec = spec if isinstance(spec, dict) else {}
    containers(lines, "Containers", spec.get("containers") or [], {})
    volumes(lines, spec.get("volumes"))
    return lines.text
