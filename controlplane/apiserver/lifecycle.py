"""An object's life: what no client may change, deletion with grace and finalizers, preconditions. Pure."""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.strategies.pod_validation import ephemeral_faults
from controlplane.apiserver.validation import forbidden
from kubeapi.errors import AlreadyExists, ApiError, Conflict, Invalid, MethodNotAllowed, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import Resource
from kubeapi.types import meta_v1


def with_ephemeral_containers(new: Any, old: Any) -> Any:
    """They are added, and never changed or taken away. Raises Invalid."""
    mine, asked = old.spec.ephemeral_containers, new.spec.ephemeral_containers
    faults = [*ephemeral_faults(asked, old.spec)]
    if any(c not in asked for c in mine):
        faults.append(
            forbidden("spec.ephemeralContainers", "existing ephemeral containers may not be changed or removed")
        )
    if faults:
        raise Invalid.of("Pod", "", old.metadata.name, faults)
    return replace(old, spec=replace(old.spec, ephemeral_containers=asked))


def keep_system_fields(new: Any, old: Any) -> Any:
    """What no client may change, as it was."""
    was = old.metadata
    metadata = replace(
        new.metadata,
        name=was.name,
        namespace=was.namespace,
        generate_name=was.generate_name,
        uid=was.uid,
        creation_timestamp=was.creation_timestamp,
        generation=was.generation,
        resource_version=was.resource_version,
        deletion_timestamp=was.deletion_timestamp,
        deletion_grace_period_seconds=was.deletion_grace_period_seconds,
        self_link="",
        managed_fields=[],
    )
    return replace(new, metadata=metadata, api_version=old.api_version, kind=old.kind)


def spec_finalizers(obj: Any) -> list[str]:
    """A namespace's own list of what must be done before it may go."""
    return getattr(getattr(obj, "spec", None), "finalizers", None) or [] if obj.kind == "Namespace" else []


def is_finished(obj: Any) -> bool:
    metadata = obj.metadata
    return (
        metadata.deletion_timestamp is not None
        and not metadata.finalizers
        and not metadata.deletion_grace_period_seconds
        and not spec_finalizers(obj)
    )


def mark_deleted(obj: Any, grace: int, options: meta_v1.DeleteOptions, now: Any) -> Any:
    """With deletion timestamp, grace and the finalizers of the propagation policy; a shorter grace may replace a longer."""
    metadata = obj.metadata
    finalizers = [f for f in metadata.finalizers if f not in ("orphan", "foregroundDeletion")]
    policy = options.propagation_policy
    if policy == "Orphan" or (policy is None and options.orphan_dependents):
        finalizers.append("orphan")
    elif policy == "Foreground":
        finalizers.append("foregroundDeletion")
    elif policy is None:
        finalizers = metadata.finalizers
    if metadata.deletion_timestamp is None:
        changed = replace(
            metadata,
            deletion_timestamp=now,
            deletion_grace_period_seconds=grace,
            finalizers=finalizers,
            generation=metadata.generation + 1 if metadata.generation else 0,
        )
    elif (metadata.deletion_grace_period_seconds or 0) > grace:
        changed = replace(metadata, deletion_grace_period_seconds=grace, finalizers=finalizers)
    else:
        changed = replace(metadata, finalizers=finalizers)
    marked = replace(obj, metadata=changed)
    if obj.kind == "Namespace" and obj.status.phase != "Terminating":
        marked = replace(marked, status=replace(obj.status, phase="Terminating"))
    return marked


def check_preconditions(resource: Resource, obj: Any, options: meta_v1.DeleteOptions) -> None:
    if options.propagation_policy not in (None, "Orphan", "Background", "Foreground"):
        raise Invalid(
            f'propagationPolicy: Unsupported value: "{options.propagation_policy}": supported values: "Background", '
            '"Foreground", "Orphan"'
        )
    wanted = options.preconditions
    if wanted is None:
        return
    metadata = obj.metadata
    for what, asked, has in (
        ("UID", wanted.uid, metadata.uid),
        ("ResourceVersion", wanted.resource_version, metadata.resource_version),
    ):
        if asked is not None and asked != has:
            raise Conflict(
                f'Operation cannot be fulfilled on {resource.qualified} "{metadata.name}": Precondition failed: '
                f"{what} in precondition: {asked}, {what} in object meta: {has}"
            )


# ------------------------------------------------------------------ refusals


def _details(resource: Resource, name: str) -> dict[str, str]:
    return {"name": name, "group": resource.group, "kind": resource.plural}


def not_found(resource: Resource, name: str) -> ApiError:
    return NotFound(f'{resource.qualified} "{name}" not found', details=_details(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    return AlreadyExists(f'{resource.qualified} "{name}" already exists', details=_details(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    return Conflict(
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; please apply '
        "your changes to the latest version and try again",
        details=_details(resource, name),
    )


def not_allowed(resource: Resource, verb: str) -> ApiError:
    return MethodNotAllowed(f"the server does not allow {verb} on {resource.qualified}")
