"""Between our words and Docker's: specs to create options, inspected containers to ours. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, cast

from node_agent.images import PAUSE_LOOP
from node_agent.runtimes.interface import Container, ContainerSpec, SandboxSpec

PREFIX = "sampan.dev/"
NODE, UID, KIND, NAME, ATTEMPT, HASH, STEP, POD, NAMESPACE = (
    PREFIX + word
    for word in (
        "node", "pod-uid", "kind", "container-name", "attempt", "spec-hash", "backoff-step", "pod-name",
        "pod-namespace",
    )
)  # fmt: skip

INSIDE = "/run/node-network"
CPU_PERIOD = 100_000
"""Microseconds: the slice in which a CPU limit is enforced."""


def container_name(name: str, pod: str, namespace: str, uid: str, attempt: int) -> str:
    return f"sampan_{name or 'POD'}_{pod}_{namespace}_{uid}_{attempt}"


def sandbox_labels(spec: SandboxSpec, node: str) -> dict[str, str]:
    return {
        NODE: node, UID: spec.pod_uid, KIND: "sandbox", NAME: "", ATTEMPT: str(spec.attempt), HASH: "", STEP: "0",
        POD: spec.name, NAMESPACE: spec.namespace,
    }  # fmt: skip


def container_labels(spec: ContainerSpec, sandbox: Container, node: str) -> dict[str, str]:
    return {
        NODE: node, UID: spec.pod_uid, KIND: spec.kind, NAME: spec.name, ATTEMPT: str(spec.attempt),
        HASH: spec.spec_hash, STEP: str(spec.backoff_step), POD: sandbox.pod_name, NAMESPACE: sandbox.pod_namespace,
    }  # fmt: skip


def sandbox_options(
    spec: SandboxSpec, *, image: str, node: str, oom_score_adj: int, namespace: str = ""
) -> dict[str, Any]:
    """The body of POST /containers/create for the pause container.

    `namespace`: the path of the node's network namespace, if that is not the engine's own (several nodes on one
    machine). The engine knows no such network for a container, so the pause process goes there by itself; whoever
    shares its network follows.

    A pod's network is ours to make: the engine is told to make none. It would start a process of its own for each, to
    manage what it has no part in, for half of what a sandbox's start takes.

    The pause process is ours, and nobody's commands run beside it: without a single capability it needs no filter of
    system calls, which runc would compile for it (a tenth of the start). Where a pod's processes see each other, one of
    them could make it its tool: there it has the engine's default filter.
    """
    host: dict[str, Any] = {
        "NetworkMode": "host" if spec.host_network else "none",
        "IpcMode": "host" if spec.host_ipc else "shareable",
        "PidMode": "host" if spec.host_pid else "",
        "OomScoreAdj": oom_score_adj,
        "CpuShares": 2,
        "LogConfig": {"Type": "none"},
    }
    if spec.sysctls:
        host["Sysctls"] = dict(spec.sysctls)
    body: dict[str, Any] = {"Image": image, "Labels": sandbox_labels(spec, node), "HostConfig": host}
    moves = spec.host_network and bool(namespace)
    if not moves:
        host |= {"CapDrop": ["ALL"], "SecurityOpt": ["no-new-privileges"]}
        if not (spec.share_pid or spec.host_pid):
            host["SecurityOpt"].append("seccomp=unconfined")
    if moves:
        host |= {"NetworkMode": "none", "Binds": [f"{namespace}:{INSIDE}:ro"], "CapAdd": ["SYS_ADMIN"]}
        body["Entrypoint"] = ["/bin/nsenter", f"--net={INSIDE}", "/bin/sh", "-c", PAUSE_LOOP]
    if not spec.host_network:
        body["NetworkDisabled"] = True
    if not spec.host_network or namespace:
        body["Hostname"] = spec.hostname[:64]
    return body


def container_options(spec: ContainerSpec, sandbox: Container, *, node: str, oom_score_adj: int) -> dict[str, Any]:
    """The body of POST /containers/create for a container that joins the sandbox's namespaces."""
    host: dict[str, Any] = {
        "NetworkMode": f"container:{sandbox.id}",
        "IpcMode": f"container:{sandbox.id}",
        "PidMode": _pid_mode(spec, sandbox),
        "Binds": [_bind(m.source, m.target, m.read_only, m.propagation) for m in spec.mounts],
        "CpuShares": spec.cpu_shares,
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "OomScoreAdj": oom_score_adj,
        "Privileged": spec.privileged,
        "ReadonlyRootfs": spec.read_only_root,
        "CapAdd": list(spec.add_capabilities),
        "CapDrop": list(spec.drop_capabilities),
        "GroupAdd": [str(group) for group in spec.groups],
        "SecurityOpt": _security(spec),
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }
    if spec.cpu_quota:
        host |= {"CpuPeriod": CPU_PERIOD, "CpuQuota": max(1000, round(spec.cpu_quota * CPU_PERIOD))}
    if spec.unmasked_proc:
        host |= {"MaskedPaths": [], "ReadonlyPaths": []}
    body: dict[str, Any] = {
        "Image": spec.image,
        "Labels": container_labels(spec, sandbox, node),
        "Env": [f"{name}={value}" for name, value in spec.env.items()],
        "User": spec.user,
        "WorkingDir": spec.working_dir,
        "Tty": spec.tty,
        "OpenStdin": spec.stdin,
        "StdinOnce": spec.stdin_once,
        "HostConfig": host,
        "Healthcheck": {"Test": ["NONE"]},
    }
    if spec.command:
        body["Entrypoint"] = list(spec.command)
    if spec.args:
        body["Cmd"] = list(spec.args)
    if spec.stop_signal:
        body["StopSignal"] = spec.stop_signal
    return body


def _pid_mode(spec: ContainerSpec, sandbox: Container) -> str:
    if spec.host_pid:
        return "host"
    shared_with = sandbox.id if spec.share_pid else spec.pid_of
    return f"container:{shared_with}" if shared_with else ""


def _security(spec: ContainerSpec) -> list[str]:
    found = [f"label={label}" for label in spec.selinux]
    if spec.no_new_privileges:
        found.append("no-new-privileges")
    if spec.seccomp:
        found.append(f"seccomp={spec.seccomp}")
    if spec.apparmor:
        found.append(f"apparmor={spec.apparmor}")
    return found


def container_of(raw: Mapping[str, Any]) -> Container:
    """From GET /containers/ID/json. One that was created but could not start counts as exited."""
    labels, state = raw["Config"].get("Labels") or {}, raw["State"]
    created, error = parse_time(raw.get("Created", "")), str(state.get("Error") or "")
    started, finished = parse_time(state.get("StartedAt", "")), parse_time(state.get("FinishedAt", ""))
    phase: Literal["created", "running", "exited"]
    if state.get("Running"):
        phase, finished = "running", None
    elif state.get("Status") == "created" and not error:
        phase = "created"
    else:
        phase, finished = "exited", finished or created
    return Container(
        id=raw["Id"],
        pod_uid=labels.get(UID, ""),
        name=labels.get(NAME, ""),
        attempt=_number(labels.get(ATTEMPT)),
        spec_hash=labels.get(HASH, ""),
        kind=cast(Literal["sandbox", "init", "app", "ephemeral"], labels.get(KIND, "app")),
        image=raw["Config"].get("Image", ""),
        image_id=raw.get("Image", ""),
        state=phase,
        exit_code=int(state.get("ExitCode") or 0),
        oom_killed=bool(state.get("OOMKilled")),
        message=error,
        created=created,
        started=started,
        finished=finished,
        pid=int(state.get("Pid") or 0),
        pod_name=labels.get(POD, ""),
        pod_namespace=labels.get(NAMESPACE, ""),
        backoff_step=_number(labels.get(STEP)),
    )


def parse_time(text: str) -> datetime | None:
    """RFC 3339 with nanoseconds; Docker's zero time is None."""
    if not text or text.startswith("0001-"):
        return None
    seconds, _, rest = text.rstrip("Z").partition(".")
    digits = "".join(ch for ch in rest[:9] if ch.isdigit())
    return datetime.fromisoformat(seconds).replace(microsecond=int((digits or "0").ljust(6, "0")[:6]), tzinfo=UTC)


def working_set(memory: Mapping[str, Any]) -> int:
    """Memory in use, without the page cache that the kernel may drop at once."""
    stats = memory.get("stats") or {}
    idle = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return max(0, int(memory.get("usage", 0)) - int(idle))


def _bind(source: str, target: str, read_only: bool, propagation: str) -> str:
    options = ["ro" if read_only else "rw", *([propagation] if propagation else [])]
    return f"{source}:{target}:{','.join(options)}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
