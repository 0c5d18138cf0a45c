"""The one next step of a Deployment, decided from what is known and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from controlplane.controllers.deployment import rolling, sets
from controlplane.controllers.deployment.sets import REVISION, replicas, revision
from controlplane.controllers.deployment.status import deadline_in, is_complete, status_of
from controlplane.controllers.pods import is_terminal
from kubeapi.meta import replace
from kubeapi.types.apps_v1 import Deployment, DeploymentStatus, ReplicaSet
from kubeapi.types.core_v1 import Pod


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    status: DeploymentStatus
    create: ReplicaSet | None = None
    update: list[tuple[ReplicaSet, ReplicaSet]] = field(default_factory=list)
    """Before and after: sizes and annotations."""
    delete: list[ReplicaSet] = field(default_factory=list)
    """Old ones that the history need not keep."""
    revision: str = ""
    """What the deployment's own annotation is to say; empty leaves it."""
    look_again: float | None = None


def plan(deployment: Deployment, owned: Sequence[ReplicaSet], pods: Sequence[Pod], now: datetime) -> DeploymentPlan:
    """`pods` are those of all owned sets; only Recreate asks whether the old ones are really gone."""
    new = sets.find_new(deployment, owned)
    old = [rs for rs in owned if rs is not new]
    if deployment.metadata.deletion_timestamp is not None:
        return DeploymentPlan(status_of(deployment, new, owned, now))
    surge = rolling.bounds_of(deployment).surge
    create: ReplicaSet | None = None
    sizes: rolling.Sizes = {}
    event = ""
    if deployment.spec.paused or rolling.is_scaling(deployment, owned):
        sizes = rolling.scale(deployment, new, old)
    else:
        may_start = True
        if deployment.spec.strategy.type == "Recreate":
            uids = {rs.metadata.uid for rs in old}
            running = any(not is_terminal(p) and any(r.uid in uids for r in p.metadata.owner_references) for p in pods)
            sizes, may_start = rolling.recreate(new, old, replicas(deployment), running)
        elif new is not None:
            sizes = rolling.roll(deployment, new, old)
        if new is None and may_start:
            size = rolling.new_size(deployment, 0, sum(replicas(rs) for rs in old))
            notes = sets.sized(sets.annotations_of_new(deployment, None, old), deployment, surge)
            create = sets.new_set(deployment, size, notes)
            event = "NewReplicaSetCreated"
    update = []
    for rs in owned:
        notes = dict(rs.metadata.annotations)
        if rs is new and not deployment.spec.paused:
            notes = sets.annotations_of_new(deployment, rs, old)
            if revision(rs) and notes.get(REVISION) != rs.metadata.annotations.get(REVISION):
                event = "FoundNewReplicaSet"
        size = sizes.get(rs.metadata.name, replicas(rs))
        if size or rs is new or rs.metadata.name in sizes:
            notes = sets.sized(notes, deployment, surge)
        spec = replace(rs.spec, replicas=size)
        if rs is new:
            spec = replace(spec, min_ready_seconds=deployment.spec.min_ready_seconds)
        after = replace(rs, metadata=replace(rs.metadata, annotations=notes), spec=spec)
        if after != rs:
            update.append((rs, after))
    current = create or next((after for before, after in update if before is new), new)
    status = status_of(deployment, create or new, owned, now, event)
    again = deadline_in(deployment, status, now)
    return DeploymentPlan(
        status=status,
        create=create,
        update=update,
        delete=_superfluous(deployment, status, old),
        revision=current.metadata.annotations.get(REVISION, "") if current is not None else "",
        look_again=max(again, 0.0) + 1.0 if again is not None else None,
    )


def _superfluous(deployment: Deployment, status: DeploymentStatus, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    limit = deployment.spec.revision_history_limit
    if limit is None or deployment.spec.paused or not is_complete(deployment, status):
        return []
    empty = [
        rs
        for rs in old
        if not replicas(rs)
        and not rs.status.replicas
        and rs.metadata.generation <= rs.status.observed_generation
        and rs.metadata.deletion_timestamp is None
    ]
    excess = len(old) - limit
    return sorted(empty, key=revision)[: max(0, excess)]
