"""What this node will not run, and why: in kubelet's words. Pure.

`refusal`: the pod fails for good, as under a kubelet that does not admit it. `obstacle`: its sandbox cannot be made;
that is tried again, since a node may learn. Nothing that a pod asks for is passed over in silence.
"""

from kubeapi.types.core_v1 import Pod

SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
LONGEST_HOSTNAME = 64


def refusal(pod: Pod) -> tuple[str, str] | None:
    """(reason, message) of the status."""
    spec = pod.spec
    if spec.os is not None and spec.os.name not in ("", "linux"):
        return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
    for sysctl in spec.security_context.sysctls if spec.security_context is not None else ():
        name = sysctl.name.replace("/", ".")
        if name not in SAFE_SYSCTLS:
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowlisted'
        if spec.host_network and name.startswith("net."):
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host net enabled'
        if spec.host_ipc and name.startswith("kernel.shm"):
            return "SysctlForbidden", f'forbidden sysctl: "{name}" not allowed with host ipc enabled'
    return None


def obstacle(pod: Pod, hostname: str) -> str:
    """Empty: none."""
    spec = pod.spec
    if spec.runtime_class_name:
        return f'RuntimeClass "{spec.runtime_class_name}" is not supported here'
    if spec.host_users is False:
        return "user namespaces (hostUsers: false) are not supported here"
    if len(hostname) > LONGEST_HOSTNAME:
        return f"the host name {hostname!r} has more than {LONGEST_HOSTNAME} characters"
    if any(port.host_ip not in ("", "0.0.0.0") for wish in spec.containers for port in wish.ports if port.host_port):
        return "a host port bound to one address (hostIP) is not supported here"
    if any(
        (port.protocol or "TCP") not in ("TCP", "UDP") for w in spec.containers for port in w.ports if port.host_port
    ):
        return "host ports of other protocols than TCP and UDP are not supported here"
    return ""
