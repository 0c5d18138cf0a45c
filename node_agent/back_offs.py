"""A pod's containers that wait for their next try: what keeps each from starting, and the events that say so, once each."""

from collections.abc import Callable
from dataclasses import replace

from kubeapi.clock import Clock
from kubeapi.types.core_v1 import Pod
from node_agent.pod_events import PodEvents
from node_agent.pod_plan import Blocked, Observed, comes_back, restart_at, wishes_of

SHOWN = 1.0
"""Seconds for which a fresh image failure is told as such."""


class BackOffs:
    blocked: dict[str, Blocked]
    """By container name: those that could not be started."""

    def __init__(self, *, events: PodEvents, clock: Clock, changed: Callable[[], None]) -> None:
        """`changed` is called when what is blocked is to be told in another way."""
        self._events, self._clock, self._changed = events, clock, changed
        self._told: set[str] = set()
        """Ids of containers whose back-off has been told as an event."""
        self.blocked = {}

    def tell(self, pod: Pod, observed: Observed) -> None:
        """Once for each container that has ended and must wait."""
        now = self._clock.now()
        for wish in wishes_of(pod).values():
            found = observed.newest(wish.name)
            if found is None or found.state != "exited" or found.id in self._told or not comes_back(pod, wish, found):
                continue
            if (at := restart_at(found)) is not None and at > now:
                self._told.add(found.id)
                text = f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
                text = f"Back-off restarting failed container {wish.name} in pod {text}"
                self._events.warn(pod, "BackOff", text, container=wish.name)

    def age(self, pod: Pod) -> bool:
        """A pull that failed a moment ago is ErrImagePull; while its next try is waited for, ImagePullBackOff.
        True when there is one that is to be looked at again for this.
        """
        now, young = self._clock.now(), False
        for name, blocked in self.blocked.items():
            if blocked.reason == "ErrImagePull" and blocked.since is not None:
                if (now - blocked.since).total_seconds() < SHOWN:
                    young = True
                    continue
                wish = wishes_of(pod).get(name)
                text = f'Back-off pulling image "{wish.image if wish else ""}"'
                self.blocked[name] = replace(blocked, reason="ImagePullBackOff", message=f"{text}: {blocked.message}")
                self._events.say(pod, "BackOff", text, container=name)
                self._events.warn(pod, "Failed", "Error: ImagePullBackOff", container=name)
                self._changed()
        return young
