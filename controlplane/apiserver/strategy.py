"""What a kind adds to the one registry: defaults, allocation, validation, and what its subresources may touch.

Every hook is pure, but for `reserve` and `settle`, which take from and give back to an allocator. The registry calls, in
this order: default → prepare_create | prepare_update → validate → validate_update → reserve → (write) → settle; and
for a status prepare_status → validate_status → (write). Structs are frozen: a hook returns a new object, and an unchanged one is not written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

from kubeapi.errors import FieldError
from kubeapi.meta import replace

Field = Callable[[Any], str]

METADATA_FIELDS: Mapping[str, Field] = {
    "metadata.name": lambda o: o.metadata.name,
    "metadata.namespace": lambda o: o.metadata.namespace,
}


class Strategy:
    """The behaviour of a kind that has none of its own: spec belongs to users, status to controllers."""

    fields: ClassVar[Mapping[str, Field]] = METADATA_FIELDS
    """What a field selector may name."""
    create_only: ClassVar[bool] = False
    name_rule: ClassVar[str] = "subdomain"
    """subdomain, label, or path (RBAC: anything without / and %)."""

    def default(self, obj: Any) -> Any:
        return obj

    def must_see_newest(self, obj: Any) -> bool:
        """Whether `prepare_create` would miss an object that may have been written a moment ago."""
        return False

    def prepare_create(self, obj: Any) -> Any:
        return replace(obj, status=type(obj)().status) if hasattr(obj, "status") else obj

    def prepare_update(self, new: Any, old: Any) -> Any:
        return replace(new, status=old.status) if hasattr(new, "status") else new

    def prepare_status(self, new: Any, old: Any) -> Any:
        """The status subresource: everything but status and a few of the metadata stays as it is."""
        metadata = replace(old.metadata, labels=new.metadata.labels, annotations=new.metadata.annotations)
        return replace(old, status=new.status, metadata=metadata)

    def validate(self, obj: Any) -> Iterator[FieldError]:
        return iter(())

    def validate_update(self, new: Any, old: Any) -> Iterator[FieldError]:
        return iter(())

    def validate_status(self, new: Any, old: Any) -> Iterator[FieldError]:
        """What a status may not say, because somebody who acts on it could not read it."""
        return iter(())

    def warnings(self, obj: Any) -> Iterator[str]:
        return iter(())

    def grace_seconds(self, obj: Any, asked: int | None) -> int:
        """How long a deletion waits for somebody else (a node) to finish the object; 0 deletes at once."""
        return 0

    def generation_matters(self, new: Any, old: Any) -> bool:
        """Whether a change counts as a new generation: by default any change of spec."""
        return hasattr(new, "spec") and new.spec != old.spec

    async def reserve(self, new: Any, old: Any | None, *, dry_run: bool) -> Any:
        """The object, valid so far, with what is allocated from a store (addresses, ports). A dry run takes nothing."""
        return new

    async def settle(self, kept: Any | None, dropped: Any) -> None:
        """Gives back what `dropped` has and `kept` has not: after a write, a failed write, a deletion."""
