"""The row of a pod: how `kubectl get pods` says what goes on in it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from controlplane.apiserver.tables.text import age
from kubeapi.meta import get_condition
from kubeapi.types import core_v1


def row(pod: core_v1.Pod, now: datetime) -> list[Any]:
    statuses = pod.status.container_statuses
    ready = sum(1 for s in statuses if s.ready)
    gates = pod.spec.readiness_gates
    passed = sum(
        1
        for g in gates
        if (c := get_condition(pod.status.conditions, g.condition_type)) is not None and c.status == "True"
    )
    return [
        pod.metadata.name,
        f"{ready}/{len(pod.spec.containers)}",
        reason(pod),
        restarts(pod, now),
        age(pod.metadata.creation_timestamp, now),
        pod.status.pod_ip or "<none>",
        pod.spec.node_name or "<none>",
        pod.status.nominated_node_name or "<none>",
        f"{passed}/{len(gates)}" if gates else "<none>",
    ]


def restarts(pod: core_v1.Pod, now: datetime) -> str:
    """`3 (45s ago)`."""
    every = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    count = sum(s.restart_count for s in every)
    ended = [
        s.last_state.terminated.finished_at
        for s in every
        if s.last_state.terminated is not None and s.last_state.terminated.finished_at is not None
    ]
    return f"{count} ({age(max(ended), now)} ago)" if count and ended else str(count)


def reason(pod: core_v1.Pod) -> str:
    """The STATUS column: the most telling of phase, init progress, and the containers' own reasons."""
    text = pod.status.reason or pod.status.phase
    gated = get_condition(pod.status.conditions, "PodScheduled")
    if gated is not None and gated.reason == "SchedulingGated":
        text = "SchedulingGated"
    initializing = _init_reason(pod)
    text = initializing if initializing is not None else _container_reason(pod, text)
    if pod.metadata.deletion_timestamp is not None:
        if pod.status.reason == "NodeLost":
            return "Unknown"
        if pod.status.phase not in ("Succeeded", "Failed"):
            return "Terminating"
    return text


def _init_reason(pod: core_v1.Pod) -> str | None:
    """None when initialization is over."""
    specs = {c.name: c for c in pod.spec.init_containers}
    for i, status in enumerate(pod.status.init_container_statuses):
        spec = specs.get(status.name)
        if spec is not None and spec.restart_policy == "Always" and status.started:
            continue
        ended = status.state.terminated
        if ended is not None and ended.exit_code == 0:
            continue
        if ended is not None:
            return "Init:" + (ended.reason or _exit_text(ended))
        waiting = status.state.waiting
        if waiting is not None and waiting.reason and waiting.reason != "PodInitializing":
            return f"Init:{waiting.reason}"
        return f"Init:{i}/{len(pod.spec.init_containers)}"
    return None


def _exit_text(ended: core_v1.ContainerStateTerminated) -> str:
    return f"Signal:{ended.signal}" if ended.signal else f"ExitCode:{ended.exit_code}"


def _container_reason(pod: core_v1.Pod, text: str) -> str:
    running = False
    statuses: Sequence[core_v1.ContainerStatus] = pod.status.container_statuses
    for status in reversed(statuses):
        state = status.state
        if state.waiting is not None and state.waiting.reason:
            text = state.waiting.reason
        elif state.terminated is not None:
            text = state.terminated.reason or _exit_text(state.terminated)
        elif status.ready and state.running is not None:
            running = True
    if text == "Completed" and running:
        ready = get_condition(pod.status.conditions, "Ready")
        return "Running" if ready is not None and ready.status == "True" else "NotReady"
    return text
