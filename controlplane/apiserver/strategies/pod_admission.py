"""What a new pod gets from other objects: its priority from a class, its token and pull secrets from its account.

    Surroundings ──► class_of, account_of, has_ca: what counts for this pod ──► with_priority, with_account Source: Kubernetes, "Admission Control in Kubernetes", Priority and
ServiceAccount. An account's token is mounted where the account and the cluster's CA (ConfigMap kube-root-ca.crt) are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from kubeapi.errors import Forbidden
from kubeapi.meta import replace
from kubeapi.types import core_v1, scheduling_v1

CA_CONFIG = "kube-root-ca.crt"
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_SECONDS = 3607
CLASSES = "/registry/scheduling.k8s.io/priorityclasses/"


def _nothing(key: str) -> Any:
    return None


def _none(prefix: str) -> Iterable[Any]:
    return ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The other objects of the cluster, by key and by prefix."""

    find: Callable[[str], Any] = _nothing
    every: Callable[[str], Iterable[Any]] = _none


def all_there(spec: core_v1.PodSpec, namespace: str, around: Surroundings) -> bool:
    """Whether the class and the account that the pod names are known."""
    if account_of(spec, namespace, around) is None:
        return False
    return not spec.priority_class_name or around.find(CLASSES + spec.priority_class_name) is not None


def class_of(spec: core_v1.PodSpec, around: Surroundings) -> scheduling_v1.PriorityClass | None:
    """Its priority class, or the cluster's default one. Raises Forbidden: there is none of that name."""
    name = spec.priority_class_name
    if name:
        found = around.find(CLASSES + name)
        if found is None:
            raise Forbidden(f"no PriorityClass with name {name} was found")
        return found  # type: ignore[no-any-return]
    defaults = (c for c in around.every(CLASSES) if c.global_default)
    return max(defaults, key=lambda c: -c.value, default=None)


def with_priority(spec: core_v1.PodSpec, found: scheduling_v1.PriorityClass | None) -> core_v1.PodSpec:
    """Raises Forbidden: a number that is not the class's."""
    value = found.value if found is not None else 0
    policy = (found.preemption_policy if found is not None else None) or "PreemptLowerPriority"
    if spec.priority is not None and spec.priority != value:
        raise Forbidden(
            f"the integer value of priority ({spec.priority}) must not be provided in pod spec; priority admission "
            f"controller computed {value} from the given PriorityClass name"
        )
    if spec.preemption_policy is not None and spec.preemption_policy != policy:
        raise Forbidden(
            f"the string value of PreemptionPolicy ({spec.preemption_policy}) must not be provided in pod spec; priority "
            f"admission controller computed {policy} from the given PriorityClass name"
        )
    return replace(
        spec,
        priority=value,
        preemption_policy=policy,
        priority_class_name=found.metadata.name if found is not None else "",
    )


def account_of(spec: core_v1.PodSpec, namespace: str, around: Surroundings) -> core_v1.ServiceAccount | None:
    name = spec.service_account_name or "default"
    return around.find(f"/registry/core/serviceaccounts/{namespace}/{name}")  # type: ignore[no-any-return]


def has_ca(namespace: str, around: Surroundings) -> bool:
    return around.find(f"/registry/core/configmaps/{namespace}/{CA_CONFIG}") is not None


def with_account(
    spec: core_v1.PodSpec, account: core_v1.ServiceAccount, suffix: Callable[[], str], ca: bool
) -> core_v1.PodSpec:
    """`ca`: the namespace has the cluster's certificate, without which a token is of no use."""
    if not spec.image_pull_secrets and account.image_pull_secrets:
        spec = replace(spec, image_pull_secrets=list(account.image_pull_secrets))
    wanted = spec.automount_service_account_token
    if wanted is None:
        wanted = account.automount_service_account_token is not False
    if not wanted or not ca:
        return spec
    containers = [*spec.init_containers, *spec.containers]
    if all(any(m.mount_path == TOKEN_PATH for m in c.volume_mounts) for c in containers):
        return spec
    name = f"kube-api-access-{suffix()}"
    mount = core_v1.VolumeMount(name=name, mount_path=TOKEN_PATH, read_only=True)

    def mounted(container: core_v1.Container) -> core_v1.Container:
        if any(m.mount_path == TOKEN_PATH for m in container.volume_mounts):
            return container
        return replace(container, volume_mounts=[*container.volume_mounts, mount])

    return replace(
        spec,
        volumes=[*spec.volumes, token_volume(name)],
        init_containers=[mounted(c) for c in spec.init_containers],
        containers=[mounted(c) for c in spec.containers],
    )


def token_volume(name: str) -> core_v1.Volume:
    token = core_v1.ServiceAccountTokenProjection(path="token", expiration_seconds=TOKEN_SECONDS)
    ca = core_v1.ConfigMapProjection(name=CA_CONFIG, items=[core_v1.KeyToPath(key="ca.crt", path="ca.crt")])
    field = core_v1.ObjectFieldSelector(api_version="v1", field_path="metadata.namespace")
    own = core_v1.DownwardAPIProjection(items=[core_v1.DownwardAPIVolumeFile(path="namespace", field_ref=field)])
    sources = [
        core_v1.VolumeProjection(service_account_token=token),
        core_v1.VolumeProjection(config_map=ca),
        core_v1.VolumeProjection(downward_api=own),
    ]
    return core_v1.Volume(name=name, projected=core_v1.ProjectedVolumeSource(sources=sources, default_mode=0o644))
