"""From a container as the user wishes it to the literal spec that a runtime takes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Literal

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
    pod: Pod, start: Start, *, env: Mapping[str, str], mounts: Sequence[Mount], node_memory: int, image_user: str = ""
) -> ContainerSpec:
    """Raises BadConfig. `image_user`: whom the image runs as if nothing is said."""
    wish = start.wish
    _refuse_what_we_lack(pod, wish)
    requests = {**wish.resources.limits, **wish.resources.requests}
    security, shared = wish.security_context, pod.spec.security_context
    capabilities = security.capabilities if security else None
    user = _first(security.run_as_user if security else None, shared.run_as_user if shared else None)
    group = _first(security.run_as_group if security else None, shared.run_as_group if shared else None)
    non_root = _first(security.run_as_non_root if security else None, shared.run_as_non_root if shared else None)
    if non_root:
        _insist_on_non_root(user, image_user.partition(":")[0])
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
        seccomp=_seccomp(pod, wish),
        apparmor=_apparmor(pod, wish),
        selinux=_selinux(pod, wish),
        unmasked_proc=bool(security and security.proc_mount == "Unmasked"),
        host_pid=pod.spec.host_pid,
        share_pid=bool(pod.spec.share_process_namespace),
        tty=wish.tty,
        stdin=wish.stdin,
        stdin_once=wish.stdin_once,
        stop_signal=(wish.lifecycle.stop_signal or "") if wish.lifecycle else "",
        backoff_step=start.backoff_step,
    )


def _insist_on_non_root(user: int | bool | None, image_user: str) -> None:
    if user == 0:
        raise BadConfig("container's runAsUser breaks non-root policy")
    if user is not None:
        return
    if image_user in ("", "0"):
        raise BadConfig("container has runAsNonRoot and image will run as root")
    if not image_user.isdigit():
        text = f"image has non-numeric user ({image_user}), cannot verify user is non-root"
        raise BadConfig(f"container has runAsNonRoot and {text}")


def _refuse_what_we_lack(pod: Pod, wish: Container) -> None:
    for resource in {**wish.resources.requests, **wish.resources.limits}:
        if resource.startswith("hugepages-"):
            raise BadConfig(f"{resource} is not supported here")
    if wish.resources.claims:
        raise BadConfig("resource claims are not supported here")
    security, shared = wish.security_context, pod.spec.security_context
    if (security and security.windows_options) or (shared and shared.windows_options):
        raise BadConfig("windowsOptions are not supported here")


def _seccomp(pod: Pod, wish: Container) -> Literal["", "unconfined"]:
    """Not said is the engine's default, as under a kubelet with seccompDefault: the safer of the two."""
    security, shared = wish.security_context, pod.spec.security_context
    profile = (security and security.seccomp_profile) or (shared and shared.seccomp_profile) or None
    if profile is not None and profile.type == "Localhost":
        raise BadConfig("seccomp profiles of type Localhost are not supported here")
    return "unconfined" if profile is not None and profile.type == "Unconfined" else ""


def _apparmor(pod: Pod, wish: Container) -> str:
    security, shared = wish.security_context, pod.spec.security_context
    profile = (security and security.app_armor_profile) or (shared and shared.app_armor_profile) or None
    if profile is None or profile.type == "RuntimeDefault":
        return ""
    return "unconfined" if profile.type == "Unconfined" else profile.localhost_profile or ""


def _selinux(pod: Pod, wish: Container) -> list[str]:
    security, shared = wish.security_context, pod.spec.security_context
    options = (security and security.se_linux_options) or (shared and shared.se_linux_options) or None
    if options is None:
        return []
    parts = {"user": options.user, "role": options.role, "type": options.type, "level": options.level}
    return [f"{name}:{value}" for name, value in parts.items() if value]


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
