"""From a container as the user wishes it to the literal spec that a runtime takes. Pure."""

from collections.abc import Mapping, Sequence

from kubeapi.quantity import parse
from kubeapi.types.core_v1 import Container, Pod
from node_agent.environment import expand_all
from node_agent.hashing import spec_hash
from node_agent.pod_plan import Start
from node_agent.pod_status import qos_class
from node_agent.runtimes.interface import ContainerSpec, Mount

MIN_SHARES, MAX_SHARES = 2, 262144


class BadConfig(Exception):
    """The container cannot be made as it is specified: CreateContainerConfigError."""


def container_spec(
    pod: Pod, start: Start, *, env: Mapping[str, str], mounts: Sequence[Mount], node_memory: int
) -> ContainerSpec:
    """Raises BadConfig."""
    wish = start.wish
    requests = {**wish.resources.limits, **wish.resources.requests}
    security, shared = wish.security_context, pod.spec.security_context
    capabilities = security.capabilities if security else None
    user = _first(security.run_as_user if security else None, shared.run_as_user if shared else None)
    group = _first(security.run_as_group if security else None, shared.run_as_group if shared else None)
    non_root = _first(security.run_as_non_root if security else None, shared.run_as_non_root if shared else None)
    if non_root and user == 0:
        raise BadConfig("container's runAsUser breaks non-root policy")
    if non_root and user is None:
        raise BadConfig("container has runAsNonRoot and no numeric runAsUser: cannot verify that its user is not root")
    extra_groups = [*(shared.supplemental_groups if shared else ())]
    if shared and shared.fs_group is not None:
        extra_groups.append(shared.fs_group)
    words = "" if user is None else str(user)
    if group is not None:
        words = f"{words or '0'}:{group}"
    return ContainerSpec(
        pod_uid=pod.metadata.uid,
        name=wish.name,
        image=wish.image,
        attempt=start.attempt,
        spec_hash=spec_hash(wish),
        kind=start.kind,
        command=expand_all(wish.command, env),
        args=expand_all(wish.args, env),
        working_dir=wish.working_dir,
        env=env,
        mounts=mounts,
        cpu_shares=cpu_shares(_amount(requests, "cpu")),
        cpu_quota=_amount(wish.resources.limits, "cpu"),
        memory_bytes=int(_amount(wish.resources.limits, "memory")),
        oom_score_adj=oom_score(pod, wish, node_memory),
        user=words,
        groups=extra_groups,
        privileged=bool(security and security.privileged),
        read_only_root=bool(security and security.read_only_root_filesystem),
        add_capabilities=capabilities.add if capabilities else (),
        drop_capabilities=capabilities.drop if capabilities else (),
        no_new_privileges=bool(security and security.allow_privilege_escalation is False),
        host_pid=pod.spec.host_pid,
        share_pid=bool(pod.spec.share_process_namespace),
        tty=wish.tty,
        stdin=wish.stdin,
        stdin_once=wish.stdin_once,
        stop_signal=(wish.lifecycle.stop_signal or "") if wish.lifecycle else "",
        backoff_step=start.backoff_step,
    )


def cpu_shares(cores: float) -> int:
    return max(MIN_SHARES, min(MAX_SHARES, int(cores * 1024)))


def oom_score(pod: Pod, wish: Container, node_memory: int) -> int:
    """The less memory a container asked for, the sooner the kernel picks it."""
    kind = qos_class(pod)
    if kind == "Guaranteed":
        return -997
    if kind == "BestEffort" or not node_memory:
        return 1000
    asked = _amount({**wish.resources.limits, **wish.resources.requests}, "memory")
    return min(999, max(3, 1000 - int(1000 * asked / node_memory)))


def _amount(table: Mapping[str, str | int | float], name: str) -> float:
    return float(parse(table[name])) if name in table else 0.0


def _first(*values: int | bool | None) -> int | bool | None:
    return next((value for value in values if value is not None), None)
