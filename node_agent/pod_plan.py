"""What to do next for one pod: a pure function of its spec, what runs, and the time.

The worker observes, asks plan_pod(), carries the plan out, and observes again. Nothing is remembered between two plans
except what is on the containers themselves (attempt, backoff step) and what just went wrong (Blocked).

Order: sandbox, init containers one after the other, then all app containers at once. An init container with restart
policy Always is a sidecar: it counts as passed once it is started, and runs until the apps have ended.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from kubeapi.types.core_v1 import Container as ContainerWish
from kubeapi.types.core_v1 import Pod
from node_agent.hashing import spec_hash
from node_agent.runtimes.interface import Container

FIRST_DELAY = 10.0
LONGEST_DELAY = 300.0
CALM = 600.0
"""Seconds of running after which a container's next end is treated as its first."""

Kind = Literal["init", "app", "ephemeral"]


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What the probes say about one running container."""

    started: bool = False
    """The startup probe has passed, or there is none."""
    ready: bool = False
    failed: str = ""
    """Not empty: restart it, for this reason."""


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why a container could not be started when it was last tried."""

    reason: str
    message: str
    until: datetime
    """Not tried again before."""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    containers: Sequence[Container] = ()
    """All of this pod, sandboxes too."""
    probes: Mapping[str, ProbeReport] = field(default_factory=dict)
    """By container id; a running container that is absent has not been probed yet."""
    blocked: Mapping[str, Blocked] = field(default_factory=dict)
    """By container name."""
    start_time: datetime | None = None

    def newest(self, name: str) -> Container | None:
        return max((c for c in self.containers if c.name == name and c.kind != "sandbox"), key=_attempt, default=None)

    def outlived(self, container: Container) -> bool:
        """It ran in a sandbox that is no more."""
        sandbox = self.sandbox()
        made, begun = container.created, sandbox.created if sandbox is not None else None
        return made is not None and begun is not None and made < begun

    def sandbox(self) -> Container | None:
        return max((c for c in self.containers if c.kind == "sandbox"), key=_attempt, default=None)


@dataclass(frozen=True, slots=True)
class Start:
    wish: ContainerWish
    kind: Kind
    attempt: int = 0
    backoff_step: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    container: Container
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    sandbox_attempt: int | None = None
    """Make a sandbox, with this attempt number, before anything else."""
    start: Sequence[Start] = ()
    stop: Sequence[Stop] = ()
    remove: Sequence[str] = ()
    """Ids of dead containers that nobody needs."""
    finished: Literal["", "Succeeded", "Failed"] = ""
    """The pod will never run again: stop all that is left."""
    reason: str = ""
    message: str = ""
    look_again: datetime | None = None
    """When the plan may change by time alone."""


def plan_pod(pod: Pod, observed: Observed, now: datetime) -> Plan:
    deadline = deadline_of(pod, observed.start_time)
    if deadline is not None and now >= deadline:
        text = "Pod was active on the node longer than the specified deadline"
        return Plan(finished="Failed", reason="DeadlineExceeded", message=text)
    outcome = outcome_of(pod, observed)
    if outcome:
        return Plan(finished=outcome)

    sandbox = observed.sandbox()
    if sandbox is None or sandbox.state != "running":
        orphans = [
            Stop(c, "Killing", f"Stopping container {c.name}: the pod's sandbox has ended")
            for c in observed.containers
            if c.state == "running" and c.kind != "sandbox"
        ]
        if orphans:
            return Plan(stop=orphans)
        attempt = 0 if sandbox is None else sandbox.attempt + 1
        dead = [c.id for c in observed.containers if c.kind == "sandbox"]
        return Plan(sandbox_attempt=attempt, remove=dead, look_again=now)

    draft = _Draft(now)
    if _inits_pass(pod, observed, draft):
        for wish in pod.spec.containers:
            draft.tend(wish, "app", observed, restarts=lambda c: restarts(pod.spec.restart_policy, c.exit_code))
        for wish in ephemeral_wishes(pod):
            draft.tend(wish, "ephemeral", observed, restarts=lambda c: False)
    return Plan(
        start=draft.start,
        stop=draft.stop,
        remove=list(_superseded(observed)),
        look_again=min([*draft.times, *([deadline] if deadline else [])], default=None),
    )


def outcome_of(pod: Pod, observed: Observed) -> Literal["", "Succeeded", "Failed"]:
    """How the pod has ended for good; empty while it has not."""
    policy = pod.spec.restart_policy
    for wish in pod.spec.init_containers:
        found = observed.newest(wish.name)
        if not is_sidecar(wish) and found and found.state == "exited" and found.exit_code and policy == "Never":
            return "Failed"
    ends = [observed.newest(wish.name) for wish in pod.spec.containers]
    codes = [c.exit_code for c in ends if c is not None and c.state == "exited"]
    if not codes or len(codes) < len(ends) or any(restarts(policy, code) for code in codes):
        return ""
    return "Failed" if any(codes) else "Succeeded"


def restarts(policy: str, exit_code: int) -> bool:
    return policy in ("Always", "") or (policy == "OnFailure" and exit_code != 0)


def comes_back(pod: Pod, wish: ContainerWish, ended: Container) -> bool:
    """Whether an init or app container is restarted after this end."""
    if ended.kind == "init" and not is_sidecar(wish):
        return ended.exit_code != 0 and pod.spec.restart_policy != "Never"
    return is_sidecar(wish) or restarts(pod.spec.restart_policy, ended.exit_code)


def wishes_of(pod: Pod) -> dict[str, ContainerWish]:
    """By name, in their order; the init containers first."""
    return {wish.name: wish for wish in [*pod.spec.init_containers, *pod.spec.containers]}


def is_sidecar(wish: ContainerWish) -> bool:
    return wish.restart_policy == "Always"


def deadline_of(pod: Pod, start_time: datetime | None) -> datetime | None:
    if pod.spec.active_deadline_seconds is None or start_time is None:
        return None
    return start_time + timedelta(seconds=pod.spec.active_deadline_seconds)


def restart_delay(step: int) -> float:
    """Seconds from an end to the next start; the first restart is at once."""
    return 0.0 if step <= 0 else min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(step - 1, 30))


def steps_so_far(ended: Container) -> int:
    """How many ends in close succession this one makes, itself not counted."""
    if ended.started and ended.finished and (ended.finished - ended.started).total_seconds() >= CALM:
        return 0
    return ended.backoff_step


def restart_at(ended: Container) -> datetime | None:
    """When it may start again. None: at once."""
    if ended.finished is None or not (delay := restart_delay(steps_so_far(ended))):
        return None
    return ended.finished + timedelta(seconds=delay)


def ephemeral_wishes(pod: Pod) -> Sequence[ContainerWish]:
    names = ContainerWish.__struct_fields__
    return [ContainerWish(**{n: getattr(e, n) for n in names}) for e in pod.spec.ephemeral_containers]


def looked_into(pod: Pod, name: str, observed: Observed) -> str:
    """The id of the container that the ephemeral container `name` is to look into, if it names one that runs."""
    for wish in pod.spec.ephemeral_containers:
        if wish.name == name and (found := observed.newest(wish.target_container_name)) is not None:
            return found.id if found.state == "running" else ""
    return ""


class _Draft:
    """A plan in the making."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.start: list[Start] = []
        self.stop: list[Stop] = []
        self.times: list[datetime] = []

    def tend(
        self, wish: ContainerWish, kind: Kind, observed: Observed, *, restarts: Callable[[Container], bool]
    ) -> None:
        """Starts, restarts or stops one container, whichever it needs."""
        found = observed.newest(wish.name)
        if found is None or found.state == "created":
            attempt = 0 if found is None else found.attempt
            return self._try(Start(wish, kind, attempt), observed)
        if found.state == "running":
            if why := observed.probes.get(found.id, ProbeReport()).failed:
                self.stop.append(Stop(found, "Unhealthy", f"Container {wish.name} {why}, will be restarted"))
            elif kind != "ephemeral" and found.spec_hash != spec_hash(wish):
                text = f"Container {wish.name} definition changed, will be restarted"
                self.stop.append(Stop(found, "Killing", text))
            return None
        if not restarts(found):
            return None
        at = restart_at(found)
        if at is not None and at > self.now:
            self.times.append(at)
            return None
        return self._try(Start(wish, kind, found.attempt + 1, steps_so_far(found) + 1), observed)

    def _try(self, start: Start, observed: Observed) -> None:
        blocked = observed.blocked.get(start.wish.name)
        if blocked is not None and blocked.until > self.now:
            self.times.append(blocked.until)
        else:
            self.start.append(start)


def _inits_pass(pod: Pod, observed: Observed, draft: _Draft) -> bool:
    """Tends the init containers; true when the apps may start."""
    apps = [observed.newest(wish.name) for wish in pod.spec.containers]
    # A new sandbox is a new beginning: what init containers did to the old one (its network, say) is gone.
    begun = any(app is not None and not observed.outlived(app) for app in apps)
    policy = pod.spec.restart_policy
    for wish in pod.spec.init_containers:
        found = observed.newest(wish.name)
        if is_sidecar(wish):
            draft.tend(wish, "init", observed, restarts=lambda c: True)
            report = observed.probes.get(found.id) if found else None
            if not begun and not (found and found.state == "running" and report and report.started):
                return False
        elif not begun and found is not None and observed.outlived(found):
            draft.tend(wish, "init", observed, restarts=lambda c: True)
            return False
        elif not begun and not (found and found.state == "exited" and found.exit_code == 0):
            draft.tend(wish, "init", observed, restarts=lambda c: c.exit_code != 0 and policy != "Never")
            return False
    return True


def _superseded(observed: Observed) -> Iterable[str]:
    """Dead containers older than the last two of their name; the last but one answers `logs --previous`."""
    by_name: dict[str, list[Container]] = {}
    for container in observed.containers:
        if container.kind != "sandbox":
            by_name.setdefault(container.name, []).append(container)
    for attempts in by_name.values():
        for container in sorted(attempts, key=_attempt)[:-2]:
            if container.state != "running":
                yield container.id


def _attempt(container: Container) -> tuple[int, str]:
    return container.attempt, container.id
