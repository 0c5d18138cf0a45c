"""A pod's containers as its worker knows them: by the last list, and by what the worker has done since."""

from collections.abc import Sequence

from node_agent.parts import Observer
from node_agent.runtimes.interface import Container


class ContainerView:
    _known: Sequence[Container] | None
    """None: something may have changed since the runtime was last asked."""
    _stirred: int
    """How often something may have changed: a list during which that happens is good for one look only."""

    def __init__(self, observer: Observer, uid: str) -> None:
        self._observer, self._uid = observer, uid
        self._known = None
        self._stirred = 0

    async def look(self) -> Sequence[Container]:
        """Asks the runtime only if something may have changed since it was last asked."""
        if self._known is not None:
            return self._known
        before = self._stirred
        found = await self._observer.of(self._uid)
        if self._stirred == before:
            self._known = found
        return found

    def forget(self) -> None:
        """Something may have changed on the machine."""
        self._known = None
        self._stirred += 1

    def put(self, container: Container) -> None:
        """We have made or started it."""
        if self._known is not None:
            self._known = [*(c for c in self._known if c.id != container.id), container]

    def drop(self, container_id: str) -> None:
        """We have removed it."""
        if self._known is not None:
            self._known = [c for c in self._known if c.id != container_id]
