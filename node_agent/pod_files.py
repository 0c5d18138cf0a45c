"""resolv.conf, hosts and hostname of a pod. Pure texts; the worker writes them and mounts them."""

from collections.abc import Sequence

from kubeapi.types.core_v1 import Pod

NDOTS = 5


def hostname_of(pod: Pod) -> str:
    return pod.spec.hostname or pod.metadata.name[:63].rstrip("-.")


def resolv_conf(pod: Pod, *, dns_ip: str, domain: str, host_text: str) -> str:
    """`host_text` is the machine's own resolv.conf."""
    policy = pod.spec.dns_policy or "ClusterFirst"
    servers, searches, options = parse_resolv(host_text)
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and dns_ip:
        mine = [f"{pod.metadata.namespace}.svc.{domain}", f"svc.{domain}", domain]
        servers, searches, options = [dns_ip], [*mine, *searches], [f"ndots:{NDOTS}"]
    elif policy == "None":
        servers, searches, options = [], [], []
    if (config := pod.spec.dns_config) is not None:
        servers = _merged(servers, config.nameservers)
        searches = _merged(searches, config.searches)
        given = {o.name: f"{o.name}:{o.value}" if o.value else o.name for o in config.options}
        options = [o for o in options if o.split(":")[0] not in given] + list(given.values())
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers[:3]]
    lines += [f"options {' '.join(options)}"] if options else []
    return "\n".join(lines) + "\n"


def hosts(pod: Pod, *, pod_ip: str, domain: str, host_text: str = "") -> str:
    """`host_text`: the machine's own, which a pod of the host network goes on seeing."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    name = hostname_of(pod)
    if pod.spec.host_network:
        lines = host_text.splitlines() or lines
    elif pod_ip:
        full = f"{name}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{domain}\t" if pod.spec.subdomain else ""
        lines.append(f"{pod_ip}\t{full}{name}")
    lines += ["\t".join([alias.ip, *alias.hostnames]) for alias in pod.spec.host_aliases]
    return "\n".join(lines) + "\n"


def parse_resolv(text: str) -> tuple[list[str], list[str], list[str]]:
    """(nameservers, search domains, options)"""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        match line.split("#")[0].split():
            case ["nameserver", server]:
                servers.append(server)
            case ["search", *domains]:
                searches = domains
            case ["options", *words]:
                options += words
    return servers, searches, options


def _merged(first: Sequence[str], second: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*first, *second]))
