"""What every part may ask of the API server, whatever lies between: gRPC, or a call in the same process.

Objects are the frozen Structs of `kubeapi.types`. Errors are those of `kubeapi.errors`, the same over every
transport. The scheduler, the controllers, the node agent and kubectl-lite know the cluster only through this.
"""

import builtins
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

T = TypeVar("T")

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
PatchType = Literal["strategic", "merge", "json"]
Propagation = Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    type: EventType
    object: T
    """Of DELETED the last state, with the resourceVersion of the deletion. Of BOOKMARK only that."""
    resource_version: int
    age: float = 0.0
    """Of the first event of a batch: seconds that the server had known of it when it sent it."""


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    items: list[T]
    resource_version: int
    """The state of the whole collection that the list shows; watch from here and nothing is missed."""
    next: str = ""
    """Token for the next chunk; empty at the end."""


@dataclass(frozen=True, slots=True)
class BatchResult(Generic[T]):
    """One write of a batch: either its object or its error."""

    object: T | None = None
    error: Exception | None = None


class Client(Protocol):
    async def get(self, type_: type[T], name: str, namespace: str = "") -> T: ...

    async def list(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        limit: int = 0,
        next: str = "",
    ) -> Listing[T]: ...

    def watch(
        self,
        type_: type[T],
        namespace: str = "",
        *,
        resource_version: int,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[Sequence[WatchEvent[T]]]:
        """Yields batches of events after resource_version, in order, none lost, none repeated.

        Raises Expired when that version is older than the server's history: list again.
        """
        ...

    async def create(self, obj: T, *, subresource: str = "", name: str = "", namespace: str = "") -> T:
        """POST. With a subresource (binding, eviction, token) `name` is the parent object's."""
        ...

    async def update(self, obj: T, *, subresource: str = "") -> T:
        """PUT at obj's resourceVersion; Conflict when the object has moved on (no version: unconditional)."""
        ...

    async def patch(
        self,
        type_: type[T],
        name: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        kind: PatchType = "merge",
        namespace: str = "",
        subresource: str = "",
    ) -> T: ...

    async def delete(
        self,
        type_: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        propagation: Propagation | None = None,
        uid: str = "",
        resource_version: int = 0,
    ) -> None: ...

    async def batch(self, writes: Sequence["Write[T]"]) -> builtins.list[BatchResult[T]]:
        """Independent writes in one round trip, for hot writers. Results come in the order of the writes."""
        ...


@dataclass(frozen=True, slots=True)
class Write(Generic[T]):
    verb: Literal["create", "update"]
    object: T
    subresource: str = ""
    name: str = ""
    namespace: str = ""
