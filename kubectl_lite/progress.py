"""How far a rollout is, in kubectl's words. Pure: an object in, (done, what to say) out; Failed when it never will be."""

from __future__ import annotations

from typing import Any

from kubectl_lite.errors import Failed, UsageError

Object = dict[str, Any]
UNOBSERVED = {
    "Deployment": "Waiting for deployment spec update to be observed...",
    "DaemonSet": "Waiting for daemon set spec update to be observed...",
    "StatefulSet": "Waiting for statefulset spec update to be observed...",
}


def progress(obj: Object, revision: int = 0) -> tuple[bool, str]:
    """Raises Failed once the rollout has gone past its deadline, UsageError for a kind that has none."""
    kind = obj["kind"]
    if kind not in UNOBSERVED:
        raise UsageError(f"no status viewer has been implemented for {kind}")
    status = obj.get("status", {})
    if obj["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return False, UNOBSERVED[kind]
    if revision:
        found = (obj["metadata"].get("annotations") or {}).get("deployment.kubernetes.io/revision")
        if found != str(revision):
            raise Failed(f"desired revision ({revision}) is different from the running revision ({found})")
    return {"Deployment": _deployment, "DaemonSet": _daemon_set, "StatefulSet": _stateful_set}[kind](obj, status)


def _deployment(obj: Object, status: Object) -> tuple[bool, str]:
    name, wanted = obj["metadata"]["name"], obj["spec"].get("replicas", 1)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
            raise Failed(
                f'deployment "{name}" exceeded its progress deadline\n'
                f"`kubectl-lite describe deploy/{name}` and the events of its pods tell why;\n"
                f"`kubectl-lite rollout undo deploy/{name}` goes back."
            )
    updated, total, available = (status.get(k, 0) for k in ("updatedReplicas", "replicas", "availableReplicas"))
    start = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return False, f"{start}{updated} out of {wanted} new replicas have been updated..."
    if total > updated:
        return False, f"{start}{total - updated} old replicas are pending termination..."
    if available < updated:
        return False, f"{start}{available} of {updated} updated replicas are available..."
    return True, f'deployment "{name}" successfully rolled out'


def _daemon_set(obj: Object, status: Object) -> tuple[bool, str]:
    name = obj["metadata"]["name"]
    if obj["spec"].get("updateStrategy", {}).get("type", "RollingUpdate") != "RollingUpdate":
        raise UsageError("rollout status is only available for RollingUpdate strategy type")
    wanted = status.get("desiredNumberScheduled", 0)
    updated, available = status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)
    start = f'Waiting for daemon set "{name}" rollout to finish: '
    if updated < wanted:
        return False, f"{start}{updated} out of {wanted} new pods have been updated..."
    if available < wanted:
        return False, f"{start}{available} of {wanted} updated pods are available..."
    return True, f'daemon set "{name}" successfully rolled out'


def _stateful_set(obj: Object, status: Object) -> tuple[bool, str]:
    spec = obj["spec"]
    strategy = spec.get("updateStrategy", {})
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        raise UsageError("rollout status is only available for RollingUpdate strategy type")
    wanted, ready, updated = spec.get("replicas", 1), status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready < wanted:
        return False, f"Waiting for {wanted - ready} pods to be ready..."
    partition = (strategy.get("rollingUpdate") or {}).get("partition", 0)
    if partition:
        if updated < wanted - partition:
            return False, (
                f"Waiting for partitioned roll out to finish: {updated} out of {wanted - partition} "
                "new pods have been updated..."
            )
        return True, f"partitioned roll out complete: {updated} new pods have been updated..."
    if status.get("updateRevision") != status.get("currentRevision"):
        return False, (
            f"waiting for statefulset rolling update to complete {updated} pods at revision "
            f"{status.get('updateRevision')}..."
        )
    current = status.get("currentReplicas", 0)
    return True, f"statefulset rolling update complete {current} pods at revision {status.get('currentRevision')}..."
