"""The status of a pod, from its spec and what was observed. Pure.

Conditions that are not ours (readiness gates, PodScheduled, DisruptionTarget) pass through untouched; a condition's
transition time moves only with its status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from kubeapi.quantity import parse
from kubeapi.types.core_v1 import (
    Container as ContainerWish,
)
from kubeapi.types.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    Pod,
    PodCondition,
    PodIP,
    PodStatus,
)
from node_agent.pod_plan import (
    Observed,
    ProbeReport,
    comes_back,
    ephemeral_wishes,
    is_sidecar,
    outcome_of,
    restart_at,
    restart_delay,
    steps_so_far,
)
from node_agent.runtimes.interface import Container

OURS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the status tells beyond the containers."""

    now: datetime
    host_ip: str
    pod_ip: str = ""
    start_time: datetime | None = None
    finished: str = ""
    """Succeeded or Failed when that is decided for another reason than the containers' ends."""
    reason: str = ""
    message: str = ""
    ended: bool = False
    """Nothing of the pod runs any more, nor will."""
    termination_messages: Mapping[str, str] | None = None
    """By container id."""


def build_status(pod: Pod, observed: Observed, about: Circumstances) -> PodStatus:
    inits = [_status(pod, wish, "init", observed, about) for wish in pod.spec.init_containers]
    apps = [_status(pod, wish, "app", observed, about) for wish in pod.spec.containers]
    ephemeral = [_status(pod, wish, "ephemeral", observed, about) for wish in ephemeral_wishes(pod)]
    phase = about.finished or phase_of(pod, observed, about)
    host_ips = [HostIP(ip=about.host_ip)] if about.host_ip else []
    return PodStatus(
        observed_generation=pod.metadata.generation,
        phase=phase,
        reason=about.reason or pod.status.reason,
        message=about.message or pod.status.message,
        conditions=_conditions(pod, phase, inits, apps, observed, about),
        nominated_node_name=pod.status.nominated_node_name,
        host_ip=about.host_ip,
        host_ips=host_ips,
        pod_ip=about.pod_ip,
        pod_ips=[PodIP(ip=about.pod_ip)] if about.pod_ip else [],
        start_time=about.start_time,
        init_container_statuses=inits,
        container_statuses=apps,
        ephemeral_container_statuses=ephemeral,
        qos_class=pod.status.qos_class or qos_class(pod),
    )


def phase_of(pod: Pod, observed: Observed, about: Circumstances) -> str:
    if outcome := outcome_of(pod, observed):
        return outcome if about.ended or not _anything_runs(observed) else "Running"
    if pod.status.phase in ("Succeeded", "Failed"):
        return pod.status.phase
    if about.ended:
        codes = [c.exit_code for w in pod.spec.containers if (c := observed.newest(w.name)) is not None]
        return "Succeeded" if len(codes) == len(pod.spec.containers) and not any(codes) else "Failed"
    begun = [observed.newest(wish.name) for wish in pod.spec.containers]
    return "Running" if begun and all(c is not None and c.started for c in begun) else "Pending"


def qos_class(pod: Pod) -> str:
    guaranteed, any_set = True, False
    for wish in [*pod.spec.containers, *pod.spec.init_containers]:
        limits, requests = wish.resources.limits, wish.resources.requests
        for name in ("cpu", "memory"):
            limit, request = limits.get(name), requests.get(name, limits.get(name))
            any_set = any_set or limit is not None or request is not None
            if limit is None or request is None or parse(limit) != parse(request):
                guaranteed = False
    return "Guaranteed" if any_set and guaranteed else "Burstable" if any_set else "BestEffort"


def terminated(container: Container, message: str = "") -> ContainerStateTerminated:
    if container.oom_killed:
        reason = "OOMKilled"
    elif container.started is None:
        reason = "StartError"
    else:
        reason = "Error" if container.exit_code else "Completed"
    return ContainerStateTerminated(
        exit_code=container.exit_code,
        reason=reason,
        message=message or container.message,
        started_at=container.started or container.created,
        finished_at=container.finished,
        container_id=full_id(container),
    )


def full_id(container: Container) -> str:
    return f"{'hollow' if container.id.startswith('hollow') else 'docker'}://{container.id}"


def recorded_reports(pod: Pod) -> dict[str, ProbeReport]:
    """By container id: what the API last heard of the pod's running containers."""
    statuses = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    return {
        s.container_id.partition("://")[2]: ProbeReport(started=bool(s.started), ready=s.ready)
        for s in statuses
        if s.state.running is not None and s.container_id
    }


def ready_now(wish: ContainerWish, container: Container | None, observed: Observed) -> bool:
    if container is None or container.state != "running":
        return False
    return observed.probes.get(container.id, ProbeReport()).ready


def _status(pod: Pod, wish: ContainerWish, kind: str, observed: Observed, about: Circumstances) -> ContainerStatus:
    newest = observed.newest(wish.name)
    older = [c for c in observed.containers if c.name == wish.name and c.kind != "sandbox" and c is not newest]
    previous = max(older, key=lambda c: c.attempt, default=None)
    blocked = observed.blocked.get(wish.name)
    messages = about.termination_messages or {}
    ended = ContainerState(terminated=terminated(newest, messages.get(newest.id, ""))) if newest else ContainerState()
    last = ContainerState(terminated=terminated(previous, messages.get(previous.id, ""))) if previous else None
    ready, started = False, False
    if newest is None or newest.state == "created":
        if (kept := _recorded(pod, wish.name, kind)) is not None and about.ended:
            return kept
        has_inits = kind == "app" and pod.spec.init_containers
        reason, message = ("PodInitializing" if has_inits else "ContainerCreating"), ""
        if blocked is not None:
            reason, message = blocked.reason, blocked.message
        state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
    elif newest.state == "running":
        report = observed.probes.get(newest.id, ProbeReport())
        state = ContainerState(running=ContainerStateRunning(started_at=newest.started))
        started, ready = report.started, report.ready
    else:
        state = ended
        ready = kind == "init" and not is_sidecar(wish) and newest.exit_code == 0
        if not about.ended and kind != "ephemeral" and comes_back(pod, wish, newest):
            at = restart_at(newest)
            if blocked is not None:
                waiting = ContainerStateWaiting(reason=blocked.reason, message=blocked.message)
                state, last = ContainerState(waiting=waiting), ended
            elif at is not None and at > about.now:
                delay = restart_delay(steps_so_far(newest))
                name = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
                text = f"back-off {delay:.0f}s restarting failed container={wish.name} pod={name}"
                waiting = ContainerStateWaiting(reason="CrashLoopBackOff", message=text)
                state, last = ContainerState(waiting=waiting), ended
    return ContainerStatus(
        name=wish.name,
        state=state,
        last_state=last or ContainerState(),
        ready=ready,
        started=started,
        restart_count=newest.attempt if newest else 0,
        image=wish.image,
        image_id=newest.image_id if newest else "",
        container_id=full_id(newest) if newest else "",
    )


def _recorded(pod: Pod, name: str, kind: str) -> ContainerStatus | None:
    """What the API already says of a container whose remains are gone from the machine."""
    lists = {
        "init": pod.status.init_container_statuses,
        "app": pod.status.container_statuses,
        "ephemeral": pod.status.ephemeral_container_statuses,
    }
    return next((s for s in lists[kind] if s.name == name and s.state.terminated is not None), None)


def _anything_runs(observed: Observed) -> bool:
    return any(c.state == "running" and c.kind == "app" for c in observed.containers)


def _conditions(
    pod: Pod,
    phase: str,
    inits: Sequence[ContainerStatus],
    apps: Sequence[ContainerStatus],
    observed: Observed,
    about: Circumstances,
) -> list[PodCondition]:
    old = {c.type: c for c in pod.status.conditions}
    over = phase in ("Succeeded", "Failed")
    done_reason = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
    sandbox = observed.sandbox()
    networked = sandbox is not None and sandbox.state == "running" and bool(about.pod_ip)
    waiting_inits = [
        s.name for s, w in zip(inits, pod.spec.init_containers, strict=True)
        if not (s.started if is_sidecar(w) else s.ready)
    ]  # fmt: skip
    begun = any(s.state.running or s.state.terminated or s.restart_count for s in apps)
    unready = [s.name for s in apps if not s.ready]
    unready += [s.name for s, w in zip(inits, pod.spec.init_containers, strict=True) if is_sidecar(w) and not s.ready]
    gates = [
        g.condition_type
        for g in pod.spec.readiness_gates
        if (c := old.get(g.condition_type)) is None or c.status != "True"
    ]

    def say(kind: str, true: bool, reason: str = "", message: str = "") -> PodCondition:
        before = old.get(kind)
        status = "True" if true else "False"
        moved = before is None or before.status != status or before.last_transition_time is None
        return PodCondition(
            type=kind,
            status=status,
            observed_generation=pod.metadata.generation,
            reason="" if true and reason not in ("PodCompleted",) else reason,
            message="" if true else message,
            last_transition_time=about.now if moved or before is None else before.last_transition_time,
        )

    not_ready = f"containers with unready status: [{' '.join(unready)}]"
    containers_reason = done_reason if over else "ContainersNotReady"
    initialized = begun or not waiting_inits or phase == "Succeeded"
    init_text = f"containers with incomplete status: [{' '.join(waiting_inits)}]"
    ready = not over and not unready and not gates
    if over or unready:
        ready_reason, ready_text = containers_reason, "" if over else not_ready
    else:
        ready_reason = "ReadinessGatesNotReady"
        ready_text = "; ".join(f'the status of pod readiness gate "{gate}" is not "True"' for gate in gates)
    ours = [
        say("PodReadyToStartContainers", networked and not about.ended),
        say("Initialized", initialized, "ContainersNotInitialized", init_text),
        say("Ready", ready, ready_reason, ready_text),
        say("ContainersReady", not over and not unready, containers_reason, "" if over else not_ready),
        old.get("PodScheduled") or say("PodScheduled", True),
    ]
    return [*ours, *(c for c in pod.status.conditions if c.type not in OURS)]
