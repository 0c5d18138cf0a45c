"""What the garbage collector does with one object, given who owns it and whom it owns. Pure.

Source: Kubernetes, "Garbage Collection" and the owners-and-dependents rules: an owner is known by its uid; one of the
same name and another uid is not the owner. An object decides about itself alone: also in a foreground deletion each
dependent looks at all its owners, so that one which somebody else still owns stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

Presence = Literal["here", "waiting", "absent"]
"""Of an owner; waiting: it is being deleted in the foreground and waits for its dependents."""


@dataclass(frozen=True, slots=True)
class Plan:
    delete: Literal["", "Background", "Foreground", "Orphan"] = ""
    drop_owners: list[str] = field(default_factory=list)
    """Uids of owners to strike off, because another owner remains."""
    unblock: bool = False
    """Before deleting: no longer hold back owners that wait. Of a circle all wait for each other."""
    visit_dependents: bool = False
    """They may have to go now; each decides for itself."""
    orphan_dependents: bool = False
    remove_finalizer: str = ""


def plan(obj: Any, owners: Mapping[str, Presence], dependents: Sequence[Any]) -> Plan:
    """`owners`: the presence of each owner by uid. `dependents`: the objects that name obj as an owner."""
    metadata = obj.metadata
    if metadata.deletion_timestamp is not None:
        if ORPHAN in metadata.finalizers:
            return Plan(orphan_dependents=True) if dependents else Plan(remove_finalizer=ORPHAN)
        if FOREGROUND in metadata.finalizers:
            held = any(blocks(d, metadata.uid) for d in dependents)
            return Plan(visit_dependents=bool(dependents), remove_finalizer="" if held else FOREGROUND)
        return Plan()
    if not owners:
        return Plan()
    gone = [uid for uid, presence in owners.items() if presence != "here"]
    if len(gone) < len(owners):
        return Plan(drop_owners=gone)
    waited_for = any(presence == "waiting" for presence in owners.values())
    if waited_for and dependents:
        return Plan(delete="Foreground", unblock=any(is_waiting(d) for d in dependents))
    if ORPHAN in metadata.finalizers:
        return Plan(delete="Orphan")
    return Plan(delete="Foreground" if FOREGROUND in metadata.finalizers else "Background")


def blocks(dependent: Any, uid: str) -> bool:
    return any(ref.uid == uid and ref.block_owner_deletion for ref in dependent.metadata.owner_references)


def is_waiting(obj: Any) -> bool:
    """It is being deleted in the foreground."""
    return obj.metadata.deletion_timestamp is not None and FOREGROUND in obj.metadata.finalizers
