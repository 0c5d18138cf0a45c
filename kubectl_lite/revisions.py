"""The earlier states of a workload: a Deployment's ReplicaSets, a DaemonSet's or StatefulSet's ControllerRevisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubectl_lite.choosing import Chosen, selector_of
from kubectl_lite.errors import UsageError
from kubectl_lite.session import Session

REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"
HASH_LABEL = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Revision:
    number: int
    cause: str
    template: dict[str, Any]
    """The pod template, without what the controllers have put into it."""
    patch: Any
    """What brings the workload back to it; a strategic merge patch, or for a Deployment a JSON patch."""


async def revisions_of(one: Chosen, session: Session) -> tuple[dict[str, Any], dict[int, Revision]]:
    """The workload, and its revisions by number. Raises UsageError for a kind that has none."""
    if one.resource.kind not in ("Deployment", "DaemonSet", "StatefulSet"):
        raise UsageError(f"no history viewer has been implemented for {one.resource.kind}")
    owner = await session.server.get(one.resource, one.name, one.namespace)
    plural = "replicasets" if one.resource.kind == "Deployment" else "controllerrevisions"
    kept = await session.names.find(plural)
    found, _ = await session.server.list(kept, one.namespace, labels=selector_of(owner))
    mine = [o for o in found if any(r.get("uid") == owner["metadata"].get("uid") for r in _owners(o))]
    made = [_of_replica_set(o) if plural == "replicasets" else _of_controller_revision(o) for o in mine]
    return owner, {revision.number: revision for revision in made}


def _owners(obj: dict[str, Any]) -> list[dict[str, Any]]:
    return obj["metadata"].get("ownerReferences") or []


def _of_replica_set(replica_set: dict[str, Any]) -> Revision:
    annotations = replica_set["metadata"].get("annotations") or {}
    template = replica_set["spec"]["template"]
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    plain = template | {"metadata": metadata}
    number = annotations.get(REVISION, "0")
    return Revision(
        int(number) if number.isdigit() else 0,
        annotations.get(CAUSE, ""),
        plain,
        [{"op": "replace", "path": "/spec/template", "value": plain}],
    )


def _of_controller_revision(revision: dict[str, Any]) -> Revision:
    annotations = revision["metadata"].get("annotations") or {}
    data = revision.get("data") or {}
    template = data.get("spec", {}).get("template", {})
    plain = {k: v for k, v in template.items() if k != "$patch"}
    return Revision(revision.get("revision", 0), annotations.get(CAUSE, ""), plain, data)
