"""ControllerRevisions: the templates that a DaemonSet or StatefulSet has had, for updates and for `kubectl rollout undo`.

A revision's data is a patch of the owner (its template, replaced as a whole), as kubectl wants to apply it. Its name ends
in a hash of the data, with the owner's collision count in it. Equal templates share one revision: going back to an old
one gives that the newest number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kubeapi import codec
from kubeapi.client.interface import Client
from kubeapi.errors import AlreadyExists, Conflict, NotFound
from kubeapi.meta import SUFFIX_ALPHABET, controller_reference, is_controlled_by, replace
from kubeapi.types.apps_v1 import ControllerRevision
from kubeapi.types.core_v1 import PodTemplateSpec
from kubeapi.types.meta_v1 import ObjectMeta

HASH = "controller-revision-hash"
CHANGE_CAUSE = "kubernetes.io/change-cause"


def data_of(template: PodTemplateSpec) -> dict[str, Any]:
    return {"spec": {"template": {**codec.to_builtins(template), "$patch": "replace"}}}


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    data = {k: v for k, v in revision.data["spec"]["template"].items() if k != "$patch"}
    return codec.from_builtins(PodTemplateSpec, data)


def hash_of(data: Any, collisions: int) -> str:
    text = msgspec.json.encode(data, order="deterministic") + str(collisions or "").encode()
    return "".join(SUFFIX_ALPHABET[b % len(SUFFIX_ALPHABET)] for b in hashlib.sha256(text).digest()[:10])


@dataclass(frozen=True, slots=True)
class HistoryPlan:
    current: ControllerRevision
    """That of the owner's template, as it is to be."""
    write: str
    """create, update (its number rises), or nothing."""
    former: list[ControllerRevision]
    """All others, oldest first."""


def plan_history(owner: Any, revisions: Sequence[ControllerRevision]) -> HistoryPlan:
    """`revisions` are the owner's own."""
    data = data_of(owner.spec.template)
    aged = sorted(revisions, key=lambda r: (r.revision, r.metadata.name))
    newest = (aged[-1].revision if aged else 0) + 1
    same = next((r for r in reversed(aged) if r.data == data), None)
    if same is None:
        value = hash_of(data, owner.status.collision_count or 0)
        notes = {k: v for k, v in owner.metadata.annotations.items() if k == CHANGE_CAUSE}
        meta = ObjectMeta(
            name=f"{owner.metadata.name}-{value}",
            namespace=owner.metadata.namespace,
            labels={**owner.spec.template.metadata.labels, HASH: value},
            annotations=notes,
            owner_references=[controller_reference(owner)],
        )
        return HistoryPlan(ControllerRevision(metadata=meta, data=data, revision=newest), "create", aged)
    others = [r for r in aged if r is not same]
    if others and others[-1].revision > same.revision:
        return HistoryPlan(replace(same, revision=newest), "update", others)
    return HistoryPlan(same, "", others)


def superfluous(
    former: Sequence[ControllerRevision], in_use: Collection[str], limit: int | None
) -> list[ControllerRevision]:
    """Of the former ones, oldest first, what the history need not keep; `in_use` are hashes that pods carry."""
    idle = [r for r in former if r.metadata.labels.get(HASH, "") not in in_use and r.metadata.name not in in_use]
    return idle[: max(0, len(idle) - (10 if limit is None else limit))]


async def write_history(client: Client, owner: Any, todo: HistoryPlan) -> ControllerRevision:
    """Raises Conflict when the name is taken by another template: the owner's collision count has been raised."""
    if todo.write == "update":
        return await client.update(todo.current)
    if not todo.write:
        return todo.current
    try:
        return await client.create(todo.current)
    except AlreadyExists as error:
        there = await client.get(ControllerRevision, todo.current.metadata.name, todo.current.metadata.namespace)
        if is_controlled_by(there, owner) and there.data == todo.current.data:
            return there
        status = replace(owner.status, collision_count=(owner.status.collision_count or 0) + 1)
        await client.update(replace(owner, status=status), subresource="status")
        raise Conflict(f"controller revision {there.metadata.name} is there already") from error


async def drop_history(client: Client, revisions: Sequence[ControllerRevision]) -> None:
    for revision in revisions:
        try:
            await client.delete(
                ControllerRevision, revision.metadata.name, revision.metadata.namespace, uid=revision.metadata.uid
            )
        except NotFound:
            continue
