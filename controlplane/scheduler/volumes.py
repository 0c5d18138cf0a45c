"""What a pod's claims demand of its node: bound volumes pin it, waiting claims need a volume that could serve there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from controlplane.scheduler.affinity import selector_mask
from controlplane.scheduler.columns import Mask
from controlplane.scheduler.filters import Refusal
from controlplane.scheduler.snapshot import Snapshot
from kubeapi.claims import NO_PROVISIONER, SELECTED_NODE, class_of, is_bound, suits, waits_for_consumer
from kubeapi.placement import selector_matches
from kubeapi.types.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod, TopologySelectorTerm
from kubeapi.types.storage_v1 import StorageClass


@dataclass(frozen=True, slots=True)
class VolumeNeeds:
    bound: tuple[PersistentVolume, ...] = ()
    waiting: tuple[tuple[PersistentVolumeClaim, StorageClass], ...] = ()
    """Unbound claims whose class waits for this decision."""
    available: tuple[PersistentVolume, ...] = ()
    blocked: str = ""
    """What is amiss whatever the node."""

    @property
    def to_pin(self) -> tuple[str, ...]:
        return tuple(claim.metadata.name for claim, _ in self.waiting)

    @property
    def chosen(self) -> str:
        """The node that was decided for before."""
        return next((n for c, _ in self.waiting if (n := c.metadata.annotations.get(SELECTED_NODE))), "")

    def refusals(self, snapshot: Snapshot) -> Iterator[Refusal]:
        """Bound volumes' affinity, the classes' topologies, then whether each waiting claim finds a volume."""
        left = snapshot.alive.copy()
        for volume in self.bound:
            affinity = volume.spec.node_affinity
            if affinity is not None and affinity.required is not None:
                rows = left & ~selector_mask(snapshot, affinity.required)
                yield Refusal("VolumeBinding", "node(s) had volume node affinity conflict", rows, True)
                left &= ~rows
        rows = snapshot.nothing()
        for _, class_ in self.waiting:
            if class_.allowed_topologies:
                rows |= left & ~_within(class_.allowed_topologies, snapshot)
        if any(class_.provisioner == NO_PROVISIONER for _, class_ in self.waiting):
            for row in np.flatnonzero(left & ~rows):
                node = snapshot.nodes[row]
                rows[row] = node is None or not self._served(node)
        yield Refusal("VolumeBinding", "node(s) didn't find available persistent volumes to bind", rows, True)

    def _served(self, node: Node) -> bool:
        taken: set[str] = set()
        for claim, class_ in self.waiting:
            volume = next((v for v in self.available if v.metadata.name not in taken and _here(v, claim, node)), None)
            if volume is not None:
                taken.add(volume.metadata.name)
            elif class_.provisioner == NO_PROVISIONER:
                return False
        return True


def _within(topologies: Sequence[TopologySelectorTerm], snapshot: Snapshot) -> Mask:
    """One of the terms, all of its labels."""
    mask = snapshot.nothing()
    for term in topologies:
        one = snapshot.alive.copy()
        for wanted in term.match_label_expressions:
            values = frozenset(wanted.values)
            one &= snapshot.label(wanted.key).where(values.__contains__)
        mask |= one
    return mask


def _here(volume: PersistentVolume, claim: PersistentVolumeClaim, node: Node) -> bool:
    affinity = volume.spec.node_affinity
    return suits(volume, claim) and (affinity is None or selector_matches(affinity.required, node))


def needs_of(
    pod: Pod,
    claim_of: Callable[[str, str], PersistentVolumeClaim | None],
    volume_of: Callable[[str], PersistentVolume | None],
    class_named: Callable[[str], StorageClass | None],
    volumes: Iterable[PersistentVolume],
) -> VolumeNeeds | None:
    """None: the pod has no claims."""
    names = claims_of(pod)
    if not names:
        return None
    bound: list[PersistentVolume] = []
    waiting: list[tuple[PersistentVolumeClaim, StorageClass]] = []
    for name in names:
        claim = claim_of(pod.metadata.namespace, name)
        if claim is None:
            return VolumeNeeds(blocked=f'persistentvolumeclaim "{name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            return VolumeNeeds(blocked=f'persistentvolumeclaim "{name}" is being deleted')
        if is_bound(claim):
            volume = volume_of(claim.spec.volume_name)
            if volume is None:
                return VolumeNeeds(blocked="node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            bound.append(volume)
            continue
        class_ = class_named(class_of(claim))
        # A volume that is on its way, because a node was chosen, is still being waited for.
        on_its_way = SELECTED_NODE in claim.metadata.annotations
        if class_ is None or not waits_for_consumer(class_) or (claim.spec.volume_name and not on_its_way):
            return VolumeNeeds(blocked="pod has unbound immediate PersistentVolumeClaims")
        waiting.append((claim, class_))
    return VolumeNeeds(tuple(bound), tuple(waiting), tuple(volumes) if waiting else ())


def claims_of(pod: Pod) -> list[str]:
    """An ephemeral volume's claim is named after the pod and the volume."""
    found = [v.persistent_volume_claim.claim_name for v in pod.spec.volumes if v.persistent_volume_claim is not None]
    return found + [f"{pod.metadata.name}-{v.name}" for v in pod.spec.volumes if v.ephemeral is not None]
