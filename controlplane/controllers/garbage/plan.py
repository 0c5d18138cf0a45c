"""What the garbage collector does with one object, given who owns it and whom it owns. Pure.

Source: Kubernetes, "Garbage Collection" and the owners-and-dependents rules: an owner is known by its uid; one of the
same name and another uid is not the owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

Presence = Literal["here", "waiting", "absent"]
"""Of an owner; waiting: it is being deleted in the foreground and waits for its dependents."""


@dataclass(frozen=True, slots=True)
class Plan:
    delete: Literal["", "Background", "Foreground"] = ""
    drop_owners: list[str] = field(default_factory=list)
    """Uids of absent owners to strike off, while another owner remains."""
    delete_dependents: bool = False
    orphan_dependents: bool = False
    remove_finalizer: str = ""


def plan(obj: Any, owners: dict[str, Presence], dependents: Sequence[Any]) -> Plan:
    """`owners`: the presence of each owner by uid. `dependents`: the objects that name obj as an owner."""
    metadata = obj.metadata
    if metadata.deletion_timestamp is not None:
        if ORPHAN in metadata.finalizers:
            if dependents:
                return Plan(orphan_dependents=True)
            return Plan(remove_finalizer=ORPHAN)
        if FOREGROUND in metadata.finalizers:
            if any(blocks(d, metadata.uid) for d in dependents):
                return Plan(delete_dependents=True)
            return Plan(delete_dependents=bool(dependents), remove_finalizer=FOREGROUND)
        return Plan()
    if not owners:
        return Plan()
    absent = [uid for uid, presence in owners.items() if presence == "absent"]
    solid = [uid for uid, presence in owners.items() if presence == "here"]
    if solid:
        return Plan(drop_owners=absent)
    if len(absent) == len(owners):
        return Plan(delete="Background")
    return Plan(delete="Foreground" if dependents else "Background")


def blocks(dependent: Any, uid: str) -> bool:
    return any(ref.uid == uid and ref.block_owner_deletion for ref in dependent.metadata.owner_references)
