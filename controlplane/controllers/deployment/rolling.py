"""How large each ReplicaSet is to be: rolling update, recreate, and scaling in the middle of a rollout.

Of one visit only one step comes out: first the new set grows, and when it cannot, the old ones shrink.
Never are there more than replicas + maxSurge pods, and never fewer available than replicas - maxUnavailable.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from controlplane.controllers.deployment.sets import DESIRED, MAXIMUM, by_age, replicas
from kubeapi.types.apps_v1 import Deployment, ReplicaSet

Sizes = dict[str, int]
"""ReplicaSet name to its new size; sets that are not there keep theirs."""


@dataclass(frozen=True, slots=True)
class Bounds:
    surge: int
    unavailable: int


def _resolve(value: int | str | None, total: int, *, up: bool) -> int:
    if value is None:
        value = "25%"
    if isinstance(value, int):
        return value
    exact = int(value.removesuffix("%") or 0) * total / 100
    return math.ceil(exact) if up else math.floor(exact)


def bounds_of(deployment: Deployment) -> Bounds:
    """Percentages of the wanted replicas: surge rounded up, unavailable down, and never both nothing."""
    if deployment.spec.strategy.type == "Recreate":
        return Bounds(0, 0)
    total = replicas(deployment)
    rolling = deployment.spec.strategy.rolling_update
    surge = _resolve(rolling.max_surge if rolling else None, total, up=True)
    unavailable = _resolve(rolling.max_unavailable if rolling else None, total, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Bounds(surge, min(unavailable, total))


def new_size(deployment: Deployment, new: int, everything: int) -> int:
    """Of the new set, which has `new` of `everything` replicas now."""
    wanted = replicas(deployment)
    if new >= wanted or deployment.spec.strategy.type == "Recreate":
        return wanted
    room = wanted + bounds_of(deployment).surge - everything
    return new + max(0, min(room, wanted - new))


def roll(deployment: Deployment, new: ReplicaSet, old: Sequence[ReplicaSet]) -> Sizes:
    every = [new, *old]
    total = sum(replicas(rs) for rs in every)
    size = new_size(deployment, replicas(new), total)
    if size != replicas(new):
        return {new.metadata.name: size}
    if not any(replicas(rs) for rs in old):
        return {}
    least = replicas(deployment) - bounds_of(deployment).unavailable
    new_unavailable = replicas(new) - new.status.available_replicas
    room = total - least - new_unavailable
    if room <= 0:
        return {}
    sizes: Sizes = {}
    for rs in by_age(old):  # first those that serve nobody anyway
        unhealthy = max(0, replicas(rs) - rs.status.available_replicas)
        down = min(room, unhealthy)
        if down:
            room -= down
            sizes[rs.metadata.name] = replicas(rs) - down
    available = sum(rs.status.available_replicas for rs in every)
    spare = available - least
    for rs in by_age(old):
        size = sizes.get(rs.metadata.name, replicas(rs))
        down = min(size, max(0, spare))
        if down:
            spare -= down
            sizes[rs.metadata.name] = size - down
    return sizes


def recreate(new: ReplicaSet | None, old: Sequence[ReplicaSet], wanted: int, old_pods: bool) -> tuple[Sizes, bool]:
    """The sizes, and whether the new set may be there at all."""
    down = {rs.metadata.name: 0 for rs in old if replicas(rs)}
    if down or old_pods:
        return down, False
    return ({new.metadata.name: wanted} if new is not None and replicas(new) != wanted else {}), True


def is_scaling(deployment: Deployment, sets: Sequence[ReplicaSet]) -> bool:
    """The deployment's size is another than when its sets were sized last."""
    wanted = str(replicas(deployment))
    return any(replicas(rs) and rs.metadata.annotations.get(DESIRED, wanted) != wanted for rs in sets)


def scale(deployment: Deployment, new: ReplicaSet | None, old: Sequence[ReplicaSet]) -> Sizes:
    """Without a rollout the one living set takes it all; within one, each its part."""
    wanted = replicas(deployment)
    every = [*old, *([new] if new is not None else [])]
    active = [rs for rs in every if replicas(rs)]
    if len(active) <= 1:
        latest = active[0] if active else (new or (by_age(old)[-1] if old else None))
        if latest is None or replicas(latest) == wanted:
            return {}
        return {latest.metadata.name: wanted}
    if new is not None and _saturated(deployment, new):
        return {rs.metadata.name: 0 for rs in old if replicas(rs)}
    if deployment.spec.strategy.type == "Recreate":
        return {}
    return _proportional(deployment, active)


def _saturated(deployment: Deployment, rs: ReplicaSet) -> bool:
    wanted = replicas(deployment)
    desired = rs.metadata.annotations.get(DESIRED) == str(wanted)
    return replicas(rs) == wanted and desired and rs.status.available_replicas == wanted


def _proportional(deployment: Deployment, active: Sequence[ReplicaSet]) -> Sizes:
    wanted = replicas(deployment)
    allowed = wanted + bounds_of(deployment).surge if wanted else 0
    total = sum(replicas(rs) for rs in active)
    left = allowed - total
    if left == 0:
        return {}
    aged = by_age(active)
    order = sorted(reversed(aged) if left > 0 else aged, key=replicas, reverse=True)
    sizes: Sizes = {}
    for rs in order:
        size = replicas(rs)
        maximum = _maximum(rs) or total
        share = round(size * allowed / maximum) - size
        share = max(min(share, left), 0) if left > 0 else min(max(share, left), 0)
        sizes[rs.metadata.name] = max(0, size + share)
        left -= share
    first = order[0].metadata.name
    sizes[first] = max(0, sizes[first] + left)
    return sizes


def _maximum(rs: ReplicaSet) -> int:
    """0 where it is not told: an annotation may be anybody's."""
    try:
        return max(0, int(rs.metadata.annotations.get(MAXIMUM, "0")))
    except ValueError:
        return 0
