"""A container's environment: envFrom, then env, with $(NAME) expanded, over the variables that tell of services."""

import re
from collections.abc import Iterable, Mapping, Sequence

from kubeapi.types.core_v1 import Container, EnvVar, Pod, Service
from node_agent.references import MissingReference, References, field_value, resource_value

_REFERENCE = re.compile(r"\$(\$|\(([^()$]*)\))")


def expand(text: str, known: Mapping[str, str]) -> str:
    """$(NAME) becomes its value, $$ a dollar; an unknown name stays as it is written."""

    def swap(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return known.get(match[2], match[0])

    return _REFERENCE.sub(swap, text)


def service_variables(services: Iterable[Service], namespace: str, *, links: bool) -> dict[str, str]:
    """The API server's address always; the namespace's other services when the pod wants links."""
    env: dict[str, str] = {}
    for svc in services:
        is_api = (svc.metadata.namespace, svc.metadata.name) == ("default", "kubernetes")
        if not (is_api or (links and svc.metadata.namespace == namespace)):
            continue
        ip = svc.spec.cluster_ip
        if not ip or ip == "None" or not svc.spec.ports:
            continue
        name = svc.metadata.name.upper().replace("-", "_")
        first = svc.spec.ports[0]
        env[f"{name}_SERVICE_HOST"] = ip
        env[f"{name}_SERVICE_PORT"] = str(first.port)
        env[f"{name}_PORT"] = f"{(first.protocol or 'TCP').lower()}://{ip}:{first.port}"
        for port in svc.spec.ports:
            protocol = port.protocol or "TCP"
            if port.name:
                env[f"{name}_SERVICE_PORT_{port.name.upper().replace('-', '_')}"] = str(port.port)
            stem = f"{name}_PORT_{port.port}_{protocol}"
            env[stem] = f"{protocol.lower()}://{ip}:{port.port}"
            env[f"{stem}_PROTO"] = protocol.lower()
            env[f"{stem}_PORT"] = str(port.port)
            env[f"{stem}_ADDR"] = ip
    return env


async def environment(
    pod: Pod,
    wish: Container,
    references: References,
    *,
    services: Iterable[Service] = (),
    pod_ip: str = "",
    host_ip: str = "",
    allocatable: Mapping[str, float] | None = None,
) -> dict[str, str]:
    """Raises MissingReference."""
    namespace = pod.metadata.namespace
    env = service_variables(services, namespace, links=pod.spec.enable_service_links is not False)
    for source in wish.env_from:
        data: Mapping[str, bytes] = {}
        if (config_map := source.config_map_ref) is not None:
            data = await references.config_map(namespace, config_map.name, optional=config_map.optional)
        elif (secret := source.secret_ref) is not None:
            data = await references.secret(namespace, secret.name, optional=secret.optional)
        env |= {source.prefix + key: value.decode(errors="replace") for key, value in data.items()}
    for var in wish.env:
        if var.value_from is None:
            env[var.name] = expand(var.value, env)
            continue
        value = await _value(pod, wish, var, references, pod_ip, host_ip, allocatable or {})
        if value is not None:
            env[var.name] = value
    return env


def expand_all(words: Sequence[str], env: Mapping[str, str]) -> list[str]:
    return [expand(word, env) for word in words]


async def _value(
    pod: Pod,
    wish: Container,
    var: EnvVar,
    references: References,
    pod_ip: str,
    host_ip: str,
    allocatable: Mapping[str, float],
) -> str | None:
    """None: optional and absent, so the variable is not set."""
    source = var.value_from
    assert source is not None
    namespace = pod.metadata.namespace
    if source.field_ref is not None:
        return field_value(pod, source.field_ref, pod_ip=pod_ip, host_ip=host_ip)
    if source.resource_field_ref is not None:
        return resource_value(pod, source.resource_field_ref, default=wish, allocatable=allocatable)
    if (key := source.config_map_key_ref) is not None:
        what, data = "ConfigMap", await references.config_map(namespace, key.name, optional=key.optional)
        wanted, name, optional = key.key, key.name, key.optional
    elif (secret_key := source.secret_key_ref) is not None:
        what, data = "Secret", await references.secret(namespace, secret_key.name, optional=secret_key.optional)
        wanted, name, optional = secret_key.key, secret_key.name, secret_key.optional
    else:
        raise MissingReference(f"the source of variable {var.name} is not supported")
    if wanted in data:
        return data[wanted].decode(errors="replace")
    if optional:
        return None
    raise MissingReference(f"couldn't find key {wanted} in {what} {namespace}/{name}")
