"""What makes a pod spec faulty, each fault with its path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from controlplane.apiserver.validation import duplicate, invalid, name_faults, required, unsupported
from kubeapi.errors import ApiError, FieldError
from kubeapi.quantity import parse
from kubeapi.types import core_v1

RESTART = ("Always", "OnFailure", "Never")
DNS = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
PROTOCOLS = ("TCP", "UDP", "SCTP")
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_spec_faults(spec: core_v1.PodSpec, path: str, *, claims: Iterable[str] = ()) -> Iterator[FieldError]:
    """`claims`: names of volumes that the pods will have beside those of the spec, from a StatefulSet's templates."""
    if not spec.containers:
        yield required(f"{path}.containers")
    names: set[str] = set()
    volumes = {v.name for v in spec.volumes} | set(claims)
    for kind, containers in (("initContainers", spec.init_containers), ("containers", spec.containers)):
        for i, container in enumerate(containers):
            where = f"{path}.{kind}[{i}]"
            yield from _container(container, where, volumes)
            if container.name in names:
                yield duplicate(f"{where}.name", container.name)
            names.add(container.name)
    yield from _volumes(spec.volumes, path)
    yield from _host_ports(spec, path)
    if spec.restart_policy not in RESTART:
        yield unsupported(f"{path}.restartPolicy", spec.restart_policy, RESTART)
    if spec.dns_policy not in DNS:
        yield unsupported(f"{path}.dnsPolicy", spec.dns_policy, DNS)
    if spec.dns_policy == "None" and not (spec.dns_config and spec.dns_config.nameservers):
        yield required(
            f"{path}.dnsConfig.nameservers", "must provide at least one DNS nameserver when dnsPolicy is None"
        )
    if (spec.termination_grace_period_seconds or 0) < 0:
        yield invalid(
            f"{path}.terminationGracePeriodSeconds",
            spec.termination_grace_period_seconds,
            "must be greater than or equal to 0",
        )
    if spec.active_deadline_seconds is not None and spec.active_deadline_seconds < 1:
        yield invalid(f"{path}.activeDeadlineSeconds", spec.active_deadline_seconds, "must be greater than 0")
    if spec.node_name:
        yield from name_faults(f"{path}.nodeName", spec.node_name, "subdomain")
    if spec.hostname:
        yield from name_faults(f"{path}.hostname", spec.hostname, "label")
    for i, t in enumerate(spec.tolerations):
        if t.effect and t.effect not in EFFECTS:
            yield unsupported(f"{path}.tolerations[{i}].effect", t.effect, EFFECTS)
        if t.operator == "Exists" and t.value:
            yield invalid(
                f"{path}.tolerations[{i}].operator", t.value, "value must be empty when `operator` is 'Exists'"
            )


def ephemeral_faults(containers: Sequence[core_v1.EphemeralContainer], spec: core_v1.PodSpec) -> Iterator[FieldError]:
    names = {c.name for c in (*spec.init_containers, *spec.containers)}
    targets = {c.name for c in spec.containers}
    for i, container in enumerate(containers):
        path = f"spec.ephemeralContainers[{i}]"
        if not container.name:
            yield required(f"{path}.name")
        else:
            yield from name_faults(f"{path}.name", container.name, "label")
        if container.name in names:
            yield duplicate(f"{path}.name", container.name)
        names.add(container.name)
        if not container.image.strip():
            yield required(f"{path}.image")
        if container.target_container_name and container.target_container_name not in targets:
            text = "the container must be one of the pod's containers"
            yield invalid(f"{path}.targetContainerName", container.target_container_name, text)
        for field in ("ports", "liveness_probe", "readiness_probe", "startup_probe", "lifecycle"):
            if getattr(container, field):
                yield FieldError(
                    f"{path}.{field}",
                    "Forbidden: cannot be set for an Ephemeral Container",
                    reason="FieldValueForbidden",
                )


def _container(c: core_v1.Container, path: str, volumes: set[str]) -> Iterator[FieldError]:
    if not c.name:
        yield required(f"{path}.name")
    else:
        yield from name_faults(f"{path}.name", c.name, "label")
    if not c.image.strip():
        yield required(f"{path}.image")
    elif c.image != c.image.strip():
        yield invalid(f"{path}.image", c.image, "must not have leading or trailing whitespace")
    if c.image_pull_policy not in ("Always", "IfNotPresent", "Never"):
        yield unsupported(f"{path}.imagePullPolicy", c.image_pull_policy, ("Always", "IfNotPresent", "Never"))
    yield from _ports(c.ports, path)
    for i, e in enumerate(c.env):
        if not e.name:
            yield required(f"{path}.env[{i}].name")
        if "=" in e.name:
            yield invalid(f"{path}.env[{i}].name", e.name, "must not contain '='")
        if e.value and e.value_from is not None:
            yield invalid(f"{path}.env[{i}].valueFrom", "", "may not be specified when `value` is not empty")
    seen: set[str] = set()
    for i, m in enumerate(c.volume_mounts):
        where = f"{path}.volumeMounts[{i}]"
        if not m.mount_path:
            yield required(f"{where}.mountPath")
        elif ":" in m.mount_path:
            yield invalid(f"{where}.mountPath", m.mount_path, "must not contain ':'")
        elif m.mount_path in seen:
            yield invalid(f"{where}.mountPath", m.mount_path, "must be unique")
        seen.add(m.mount_path)
        if m.name not in volumes:
            yield FieldError(f"{where}.name", f'Not found: "{m.name}"', reason="FieldValueNotFound")
        if m.sub_path.startswith("/") or ".." in m.sub_path.split("/"):
            yield invalid(f"{where}.subPath", m.sub_path, "must be a relative path without '..'")
    yield from _resources(c.resources, f"{path}.resources")
    for name, probe in (
        ("livenessProbe", c.liveness_probe),
        ("readinessProbe", c.readiness_probe),
        ("startupProbe", c.startup_probe),
    ):
        if probe is not None:
            yield from _probe(probe, f"{path}.{name}", readiness=name == "readinessProbe")


def _ports(ports: Sequence[core_v1.ContainerPort], path: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for i, p in enumerate(ports):
        where = f"{path}.ports[{i}]"
        if not 1 <= p.container_port <= 65535:
            yield invalid(f"{where}.containerPort", p.container_port, "must be between 1 and 65535, inclusive")
        if not 0 <= p.host_port <= 65535:
            yield invalid(f"{where}.hostPort", p.host_port, "must be between 1 and 65535, inclusive")
        if p.protocol not in PROTOCOLS:
            yield unsupported(f"{where}.protocol", p.protocol, PROTOCOLS)
        if p.name:
            if p.name in names:
                yield duplicate(f"{where}.name", p.name)
            names.add(p.name)


def _resources(r: core_v1.ResourceRequirements, path: str) -> Iterator[FieldError]:
    values = {}
    for kind, amounts in (("limits", r.limits), ("requests", r.requests)):
        for name, amount in amounts.items():
            try:
                values[kind, name] = parse(amount)
            except ApiError as error:
                yield invalid(f"{path}.{kind}[{name}]", amount, str(error))
                continue
            if values[kind, name].numerator < 0:
                yield invalid(f"{path}.{kind}[{name}]", amount, "must be greater than or equal to 0")
    for name, amount in r.requests.items():
        limit = values.get(("limits", name))
        if limit is not None and amount != r.limits[name] and values.get(("requests", name), 0) > limit:
            yield invalid(f"{path}.requests", amount, f"must be less than or equal to {name} limit of {r.limits[name]}")


def _probe(p: core_v1.Probe, path: str, *, readiness: bool) -> Iterator[FieldError]:
    handlers = [h for h in (p.exec, p.http_get, p.tcp_socket, p.grpc) if h is not None]
    if not handlers:
        yield required(path, "must specify a handler type")
    if len(handlers) > 1:
        yield FieldError(path, "Forbidden: may not specify more than 1 handler type", reason="FieldValueForbidden")
    for name, value in (
        ("initialDelaySeconds", p.initial_delay_seconds),
        ("timeoutSeconds", p.timeout_seconds),
        ("periodSeconds", p.period_seconds),
        ("successThreshold", p.success_threshold),
        ("failureThreshold", p.failure_threshold),
    ):
        if value < 0:
            yield invalid(f"{path}.{name}", value, "must be greater than or equal to 0")
    if not readiness and p.success_threshold != 1:
        yield invalid(f"{path}.successThreshold", p.success_threshold, "must be 1")


def _volumes(volumes: Sequence[core_v1.Volume], path: str) -> Iterator[FieldError]:
    names: set[str] = set()
    for i, v in enumerate(volumes):
        where = f"{path}.volumes[{i}]"
        if not v.name:
            yield required(f"{where}.name")
        else:
            yield from name_faults(f"{where}.name", v.name, "label")
        if v.name in names:
            yield duplicate(f"{where}.name", v.name)
        names.add(v.name)
        sources = [f for f in v.__struct_fields__ if f != "name" and getattr(v, f) is not None]
        if len(sources) > 1:
            yield FieldError(where, "Forbidden: may not specify more than 1 volume type", reason="FieldValueForbidden")
        if v.config_map is not None and not v.config_map.name:
            yield required(f"{where}.configMap.name")
        if v.secret is not None and not v.secret.secret_name:
            yield required(f"{where}.secret.secretName")
        if v.persistent_volume_claim is not None and not v.persistent_volume_claim.claim_name:
            yield required(f"{where}.persistentVolumeClaim.claimName")
        if v.host_path is not None and (not v.host_path.path or ".." in v.host_path.path.split("/")):
            yield invalid(f"{where}.hostPath.path", v.host_path.path, "must be a path without '..'")


def _host_ports(spec: core_v1.PodSpec, path: str) -> Iterator[FieldError]:
    taken: set[tuple[str, str, int]] = set()
    for i, c in enumerate(spec.containers):
        for j, p in enumerate(c.ports):
            if not p.host_port:
                continue
            if spec.host_network and p.host_port != p.container_port:
                yield invalid(
                    f"{path}.containers[{i}].ports[{j}].containerPort",
                    p.container_port,
                    "must match `hostPort` when `hostNetwork` is true",
                )
            key = (p.protocol, p.host_ip, p.host_port)
            if key in taken:
                yield duplicate(f"{path}.containers[{i}].ports[{j}].hostPort", p.host_port)
            taken.add(key)
