"""One pod's volumes: made before its first container, and looked at again once a minute, for what they show may change."""

from collections.abc import Mapping
from contextlib import nullcontext

from kubeapi.types.core_v1 import Pod
from node_agent.parts import Parts
from node_agent.pod_events import PodEvents
from node_agent.references import MissingReference
from node_agent.volumes import Place

REFRESH = 60.0
"""Seconds between two refreshes of ConfigMap, Secret and token files."""


class PodVolumes:
    places: Mapping[str, Place]
    """By volume; none before the first refresh has succeeded."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._events = PodEvents(parts.events)
        self._made = False
        self._refreshed = 0.0
        self.places = {}

    async def refresh(self, pod: Pod, *, pod_ip: str) -> str:
        """When it is time. Says if the pod has put more into one of them than it may. Raises MissingReference.

        A pod that has its volumes keeps them, though what they show can no longer be read.
        """
        parts = self._parts
        if self._made and parts.clock.monotonic() - self._refreshed < REFRESH:
            return ""
        self._refreshed = parts.clock.monotonic()
        with nullcontext() if self._made else parts.metrics.stage("volumes"):
            try:
                self.places = await parts.volumes.prepare(pod, pod_ip=pod_ip)
                self._made = True
            except MissingReference as error:
                if not self._made:
                    raise
                self._events.warn(pod, "FailedMount", str(error))
        return await parts.volumes.overfull(pod)


def may_change(pod: Pod) -> bool:
    """Whether any of its volumes has to be refreshed, or measured."""
    return any(
        v.config_map or v.secret or v.projected or v.downward_api or (v.empty_dir and v.empty_dir.size_limit)
        for v in pod.spec.volumes
    )
