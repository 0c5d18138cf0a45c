"""The next step of a StatefulSet, decided from what is known and nothing else.

    ordinals start … start+replicas-1: each a pod <set>-<n> with claims <template>-<set>-<n> of its own
    OrderedReady: the first that is missing is made, and nothing else before it is available; from the end down, when there
                  are too many, one at a time. Parallel: all at once.
    RollingUpdate: once all is there and healthy, from the highest ordinal down to `partition`, one pod of a former
                  template is deleted; it comes back under the new one.

A pod below the partition is made from the current revision, others from the update revision. A pod that cannot become
ready under a former template is replaced too: going back to a good template must not wait for a broken pod.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.controllers.history import HASH
from controlplane.controllers.pods import available_at, is_available, is_ready, is_terminal
from kubeapi.meta import controller_of, controller_reference, replace
from kubeapi.types.apps_v1 import StatefulSet, StatefulSetStatus
from kubeapi.types.core_v1 import (
    PersistentVolumeClaim,
    PersistentVolumeClaimVolumeSource,
    Pod,
    PodTemplateSpec,
    Volume,
)
from kubeapi.types.meta_v1 import ObjectMeta, OwnerReference

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class StatefulPlan:
    create: list[tuple[int, bool]] = field(default_factory=list)
    """Ordinals, and whether from the update revision (else the current one)."""
    delete: list[Pod] = field(default_factory=list)


def replicas_of(owner: StatefulSet) -> int:
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def start_of(owner: StatefulSet) -> int:
    return owner.spec.ordinals.start if owner.spec.ordinals is not None else 0


def ordinal_of(owner: StatefulSet, name: str) -> int | None:
    """None for a name that this set would never give."""
    prefix, _, text = name.rpartition("-")
    plain = text.isascii() and text.isdigit() and (text == "0" or not text.startswith("0"))
    return int(text) if prefix == owner.metadata.name and plain else None


def is_parallel(owner: StatefulSet) -> bool:
    return owner.spec.pod_management_policy == "Parallel"


def partition_of(owner: StatefulSet) -> int:
    rolling = owner.spec.update_strategy.rolling_update
    return (rolling.partition or 0) if rolling is not None else 0


def _healthy(owner: StatefulSet, pod: Pod, now: datetime) -> bool:
    return pod.metadata.deletion_timestamp is None and is_available(pod, owner.spec.min_ready_seconds, now)


def plan(owner: StatefulSet, pods: Sequence[Pod], update: str, now: datetime) -> StatefulPlan:
    """`pods` are the set's own; `update` is the hash of its template's revision."""
    by_ordinal: dict[int, Pod] = {}
    for pod in pods:
        ordinal = ordinal_of(owner, pod.metadata.name)
        if ordinal is not None:
            by_ordinal[ordinal] = pod
    wanted = range(start_of(owner), start_of(owner) + replicas_of(owner))
    todo = StatefulPlan()
    if not _fill(owner, by_ordinal, wanted, todo, now):
        return todo
    extra = sorted((n for n in by_ordinal if n not in wanted), reverse=True)
    for ordinal in extra:
        pod = by_ordinal[ordinal]
        if pod.metadata.deletion_timestamp is None:
            unhealthy = [p for n, p in by_ordinal.items() if n in wanted and not _healthy(owner, p, now)]
            if not is_parallel(owner) and is_available(pod, owner.spec.min_ready_seconds, now) and unhealthy:
                return todo  # one that serves does not go while one that stays does not serve
            todo.delete.append(pod)
        if not is_parallel(owner):
            return todo
    if owner.spec.update_strategy.type != "OnDelete" and not todo.create:
        _update(owner, by_ordinal, wanted, update, todo, now)
    return todo


def _fill(owner: StatefulSet, by_ordinal: Mapping[int, Pod], wanted: range, todo: StatefulPlan, now: datetime) -> bool:
    """Makes what is missing, and says whether the next phase may begin."""
    for ordinal in wanted:
        pod = by_ordinal.get(ordinal)
        if pod is None:
            todo.create.append((ordinal, _takes_update(owner, ordinal)))
        elif is_terminal(pod):
            if pod.metadata.deletion_timestamp is None:
                todo.delete.append(pod)
        elif _healthy(owner, pod, now):
            continue
        if not is_parallel(owner):
            # Something waits for this one. An update may still replace it: see _update.
            return pod is not None and not is_terminal(pod) and pod.metadata.deletion_timestamp is None
    return True


def _takes_update(owner: StatefulSet, ordinal: int) -> bool:
    """A pod below the partition comes back as it was."""
    if owner.spec.update_strategy.type == "OnDelete":
        return True
    return ordinal >= start_of(owner) + partition_of(owner)


def _update(
    owner: StatefulSet,
    by_ordinal: Mapping[int, Pod],
    wanted: range,
    update: str,
    todo: StatefulPlan,
    now: datetime,
) -> None:
    """From the end, at most `maxUnavailable` pods that do not serve at a time."""
    allowed = _unavailable(owner)
    down = sum(1 for n in wanted if n not in by_ordinal or not _healthy(owner, by_ordinal[n], now))
    for ordinal in reversed(wanted):
        pod = by_ordinal.get(ordinal)
        if ordinal < start_of(owner) + partition_of(owner):
            return
        if pod is None or pod.metadata.labels.get(HASH) == update:
            if pod is not None and not _healthy(owner, pod, now) and allowed == 1:
                return  # wait for the one that was replaced last
            continue
        if pod.metadata.deletion_timestamp is not None or pod in todo.delete:
            if allowed == 1:
                return
            continue
        if not _healthy(owner, pod, now):
            todo.delete.append(pod)
            if allowed == 1:
                return
        elif down < allowed:
            todo.delete.append(pod)
            down += 1
            if allowed == 1:
                return


def _unavailable(owner: StatefulSet) -> int:
    rolling = owner.spec.update_strategy.rolling_update
    value = rolling.max_unavailable if rolling is not None else None
    if value is None:
        return 1
    if isinstance(value, int):
        return max(1, value)
    return max(1, math.floor(int(value.removesuffix("%") or 0) * replicas_of(owner) / 100))


def status_of(owner: StatefulSet, pods: Sequence[Pod], current: str, update: str, now: datetime) -> StatefulSetStatus:
    """`current`, `update`: hashes. When all pods have the update revision and are ready, it becomes the current one."""
    live = [p for p in pods if ordinal_of(owner, p.metadata.name) is not None]
    going = [p for p in live if p.metadata.deletion_timestamp is not None]
    stay = [p for p in live if p.metadata.deletion_timestamp is None]
    name = owner.metadata.name
    updated = sum(1 for p in stay if p.metadata.labels.get(HASH) == update)
    ready = [p for p in live if is_ready(p) and not is_terminal(p)]
    replicas = len(stay) + len(going)
    total = replicas_of(owner)
    rolled = (
        owner.spec.update_strategy.type != "OnDelete"
        and updated == replicas == total == sum(1 for p in stay if is_ready(p))
        and partition_of(owner) == 0
    )
    settled = update if rolled else current
    return replace(
        owner.status,
        observed_generation=owner.metadata.generation,
        replicas=replicas,
        ready_replicas=len(ready),
        available_replicas=sum(1 for p in ready if is_available(p, owner.spec.min_ready_seconds, now)),
        current_replicas=sum(1 for p in stay if p.metadata.labels.get(HASH) == settled),
        updated_replicas=updated,
        current_revision=f"{name}-{settled}",
        update_revision=f"{name}-{update}",
    )


def next_available(owner: StatefulSet, pods: Sequence[Pod], now: datetime) -> float | None:
    if not owner.spec.min_ready_seconds:
        return None
    moments = [at for p in pods if (at := available_at(p, owner.spec.min_ready_seconds)) and at > now]
    return (min(moments) - now).total_seconds() + 0.001 if moments else None


# ------------------------------------------------------------------ pods and claims


def pod_for(owner: StatefulSet, template: PodTemplateSpec, hash_: str, ordinal: int) -> Pod:
    name = f"{owner.metadata.name}-{ordinal}"
    labels = {**template.metadata.labels, HASH: hash_, NAME_LABEL: name, INDEX_LABEL: str(ordinal)}
    ours = {c.metadata.name for c in owner.spec.volume_claim_templates}
    claims = [
        Volume(
            name=c.metadata.name,
            persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=claim_name(owner, c, ordinal)),
        )
        for c in owner.spec.volume_claim_templates
    ]
    return Pod(
        metadata=ObjectMeta(
            name=name,
            generate_name=f"{owner.metadata.name}-",
            namespace=owner.metadata.namespace,
            labels=labels,
            annotations=template.metadata.annotations,
            finalizers=template.metadata.finalizers,
            owner_references=[controller_reference(owner)],
        ),
        spec=replace(
            template.spec,
            hostname=name,
            subdomain=owner.spec.service_name,
            volumes=[*(v for v in template.spec.volumes if v.name not in ours), *claims],
        ),
    )


def claim_name(owner: StatefulSet, template: PersistentVolumeClaim, ordinal: int) -> str:
    return f"{template.metadata.name}-{owner.metadata.name}-{ordinal}"


def claims_for(owner: StatefulSet, ordinal: int) -> list[PersistentVolumeClaim]:
    labels = owner.spec.selector.match_labels if owner.spec.selector is not None else {}
    return [
        PersistentVolumeClaim(
            metadata=ObjectMeta(
                name=claim_name(owner, template, ordinal),
                namespace=owner.metadata.namespace,
                labels={**template.metadata.labels, **labels},
                annotations=template.metadata.annotations,
            ),
            spec=template.spec,
        )
        for template in owner.spec.volume_claim_templates
    ]


def claim_owners(
    owner: StatefulSet, claim: PersistentVolumeClaim, ordinal: int, pod: Pod | None
) -> list[OwnerReference]:
    """Who owns the claim by the retention policy: the set (gone with it), the pod (gone with it when scaled down).

    References of others stay; a claim that somebody else controls is left as it is.
    """
    keep = owner.spec.persistent_volume_claim_retention_policy
    ref = controller_of(claim)
    if ref is not None and ref.uid != owner.metadata.uid and (ref.kind, ref.name) != ("Pod", _pod_name(owner, ordinal)):
        return list(claim.metadata.owner_references)
    ours = {("StatefulSet", owner.metadata.name), ("Pod", _pod_name(owner, ordinal))}
    others = [r for r in claim.metadata.owner_references if (r.kind, r.name) not in ours]
    if keep is None:
        return others
    excess = not start_of(owner) <= ordinal < start_of(owner) + replicas_of(owner)
    if keep.when_scaled == "Delete" and excess and pod is not None:
        return [*others, _reference(pod)]
    if keep.when_deleted == "Delete":
        return [*others, _reference(owner)]
    return others


def _pod_name(owner: StatefulSet, ordinal: int) -> str:
    return f"{owner.metadata.name}-{ordinal}"


def _reference(owner: StatefulSet | Pod) -> OwnerReference:
    meta = owner.metadata
    return OwnerReference(api_version=owner.api_version, kind=owner.kind, name=meta.name, uid=meta.uid, controller=True)
