"""The defaults of a pod's spec, as the Kubernetes API reference documents them; for pods and for pod templates."""

from __future__ import annotations

from typing import Any

from kubeapi.meta import replace
from kubeapi.quantity import canonical
from kubeapi.schema import reader
from kubeapi.types import core_v1

GRACE = 30
TERMINATION_PATH = "/dev/termination-log"


def default_pod_spec(spec: core_v1.PodSpec) -> core_v1.PodSpec:
    host_network = spec.host_network
    return replace(
        spec,
        restart_policy=spec.restart_policy or "Always",
        dns_policy=spec.dns_policy or "ClusterFirst",
        scheduler_name=spec.scheduler_name or "default-scheduler",
        termination_grace_period_seconds=_or(spec.termination_grace_period_seconds, GRACE),
        security_context=spec.security_context or core_v1.PodSecurityContext(),
        enable_service_links=_or(spec.enable_service_links, True),
        service_account_name=spec.service_account_name or spec.service_account,
        service_account=spec.service_account_name or spec.service_account,
        init_containers=[default_container(c, host_network) for c in spec.init_containers],
        containers=[default_container(c, host_network) for c in spec.containers],
        ephemeral_containers=[_ephemeral(c) for c in spec.ephemeral_containers],
        volumes=[_volume(v) for v in spec.volumes],
    )


def _ephemeral(c: core_v1.EphemeralContainer) -> core_v1.EphemeralContainer:
    return replace(
        c,
        image_pull_policy=c.image_pull_policy or pull_policy(c.image),
        termination_message_path=c.termination_message_path or TERMINATION_PATH,
        termination_message_policy=c.termination_message_policy or "File",
    )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def default_container(c: core_v1.Container, host_network: bool) -> core_v1.Container:
    return replace(
        c,
        image_pull_policy=c.image_pull_policy or pull_policy(c.image),
        termination_message_path=c.termination_message_path or TERMINATION_PATH,
        termination_message_policy=c.termination_message_policy or "File",
        ports=[_port(p, host_network) for p in c.ports],
        env=[_env(e) for e in c.env],
        resources=_resources(c.resources),
        liveness_probe=_probe(c.liveness_probe),
        readiness_probe=_probe(c.readiness_probe),
        startup_probe=_probe(c.startup_probe),
        lifecycle=_lifecycle(c.lifecycle),
    )


def pull_policy(image: str) -> str:
    """Always for :latest and no tag at all, else IfNotPresent."""
    name = image.rpartition("/")[2]
    if "@" in image:
        return "IfNotPresent"
    tag = name.partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _port(p: core_v1.ContainerPort, host_network: bool) -> core_v1.ContainerPort:
    host_port = p.container_port if host_network and not p.host_port else p.host_port
    return replace(p, protocol=p.protocol or "TCP", host_port=host_port)


def _env(e: core_v1.EnvVar) -> core_v1.EnvVar:
    source = e.value_from
    if source is None or source.field_ref is None or source.field_ref.api_version:
        return e
    return replace(e, value_from=replace(source, field_ref=replace(source.field_ref, api_version="v1")))


def _resources(r: core_v1.ResourceRequirements) -> core_v1.ResourceRequirements:
    """Requests that are missing are the limits; all in canonical form."""
    if not r.limits and not r.requests:
        return r
    requests = {**r.limits, **r.requests}
    return replace(
        r,
        limits={k: canonical(v) for k, v in r.limits.items()},
        requests={k: canonical(v) for k, v in requests.items()},
    )


def _probe(p: core_v1.Probe | None) -> core_v1.Probe | None:
    if p is None:
        return None
    return replace(
        p,
        timeout_seconds=p.timeout_seconds or 1,
        period_seconds=p.period_seconds or 10,
        success_threshold=p.success_threshold or 1,
        failure_threshold=p.failure_threshold or 3,
        http_get=_http(p.http_get),
    )


def _http(h: core_v1.HTTPGetAction | None) -> core_v1.HTTPGetAction | None:
    return replace(h, path=h.path or "/", scheme=h.scheme or "HTTP") if h is not None else None


def _lifecycle(hooks: core_v1.Lifecycle | None) -> core_v1.Lifecycle | None:
    if hooks is None:
        return None
    start, stop = hooks.post_start, hooks.pre_stop
    return replace(
        hooks,
        post_start=replace(start, http_get=_http(start.http_get)) if start else None,
        pre_stop=replace(stop, http_get=_http(stop.http_get)) if stop else None,
    )


DEFAULT_MODE = 0o644
_SOURCES = reader([field for field in core_v1.Volume.__struct_fields__ if field != "name"])


def _volume(v: core_v1.Volume) -> core_v1.Volume:
    if v.config_map is not None and v.config_map.default_mode is None:
        return replace(v, config_map=replace(v.config_map, default_mode=DEFAULT_MODE))
    if v.secret is not None and v.secret.default_mode is None:
        return replace(v, secret=replace(v.secret, default_mode=DEFAULT_MODE))
    if v.downward_api is not None and v.downward_api.default_mode is None:
        return replace(v, downward_api=replace(v.downward_api, default_mode=DEFAULT_MODE))
    if v.projected is not None and v.projected.default_mode is None:
        return replace(v, projected=replace(v.projected, default_mode=DEFAULT_MODE))
    if v.host_path is not None and v.host_path.type is None:
        return replace(v, host_path=replace(v.host_path, type=""))
    return (
        v if any(source is not None for source in _SOURCES(v)) else replace(v, empty_dir=core_v1.EmptyDirVolumeSource())
    )


def default_template(template: core_v1.PodTemplateSpec) -> core_v1.PodTemplateSpec:
    return replace(template, spec=default_pod_spec(template.spec))
