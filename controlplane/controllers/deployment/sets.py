"""Which ReplicaSet is the new one, what it is called, and the revisions that `kubectl rollout` shows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from kubeapi.meta import SUFFIX_ALPHABET, controller_reference, replace
from kubeapi.types.apps_v1 import Deployment, ReplicaSet, ReplicaSetSpec
from kubeapi.types.core_v1 import PodTemplateSpec
from kubeapi.types.meta_v1 import LabelSelector, ObjectMeta

HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"
_OURS = {
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.to",
}


def template_hash(template: PodTemplateSpec, collisions: int) -> str:
    data = msgspec.json.encode(template, order="deterministic") + str(collisions or "").encode()
    return "".join(SUFFIX_ALPHABET[b % len(SUFFIX_ALPHABET)] for b in hashlib.sha256(data).digest()[:10])


def without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {k: v for k, v in template.metadata.labels.items() if k != HASH}
    return replace(template, metadata=replace(template.metadata, labels=labels, creation_timestamp=None))


def with_label(template: PodTemplateSpec, value: str) -> PodTemplateSpec:
    labels = {**template.metadata.labels, HASH: value}
    return replace(template, metadata=replace(template.metadata, labels=labels))


def by_age(sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    def age(rs: ReplicaSet) -> tuple[Any, str]:
        created = rs.metadata.creation_timestamp
        return (created.timestamp() if created else float("inf"), rs.metadata.name)

    return sorted(sets, key=age)


def find_new(deployment: Deployment, sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The oldest with the deployment's template."""
    wanted = without_hash(deployment.spec.template)
    return next((rs for rs in by_age(sets) if without_hash(rs.spec.template) == wanted), None)


def revision(obj: Deployment | ReplicaSet) -> int:
    try:
        return int(obj.metadata.annotations.get(REVISION, "0"))
    except ValueError:
        return 0


def replicas(obj: Deployment | ReplicaSet) -> int:
    return 1 if obj.spec.replicas is None else obj.spec.replicas


def annotations_of_new(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> dict[str, str]:
    """A rollback makes an old set the newest: its former revision goes into its history."""
    had = dict(new.metadata.annotations) if new is not None else {}
    had.update({k: v for k, v in deployment.metadata.annotations.items() if k not in _OURS})
    wanted = max((revision(rs) for rs in old), default=0) + 1
    before = revision(new) if new is not None else 0
    if before < wanted:
        if before:
            had[HISTORY] = ",".join(filter(None, [had.get(HISTORY, ""), str(before)]))
        had[REVISION] = str(wanted)
    return had


def sized(annotations: dict[str, str], deployment: Deployment, surge: int) -> dict[str, str]:
    wanted = replicas(deployment)
    return {**annotations, DESIRED: str(wanted), MAXIMUM: str(wanted + surge)}


def new_set(deployment: Deployment, size: int, annotations: dict[str, str]) -> ReplicaSet:
    value = template_hash(deployment.spec.template, deployment.status.collision_count or 0)
    selector = deployment.spec.selector or LabelSelector()
    template = with_label(deployment.spec.template, value)
    return ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{value}",
            namespace=deployment.metadata.namespace,
            labels=template.metadata.labels,
            annotations=annotations,
            owner_references=[controller_reference(deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=size,
            min_ready_seconds=deployment.spec.min_ready_seconds,
            selector=replace(selector, match_labels={**selector.match_labels, HASH: value}),
            template=template,
        ),
    )
