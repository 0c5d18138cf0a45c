"""Which of the possible nodes is best: each score is 0 to 100 per row, and counts by its weight."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from controlplane.scheduler.affinity import preferred_weights
from controlplane.scheduler.requests import CPU, MEMORY, Request
from controlplane.scheduler.snapshot import Mask, Snapshot
from kubeapi.client.keys import controller_of
from kubeapi.placement import tolerates
from kubeapi.types.core_v1 import Pod, Taint

Score = NDArray[Any]


def resources(request: Request, snapshot: Snapshot) -> Score:
    """Half for what would be left free, half for cpu and memory being used in like parts."""
    parts = []
    for name, used, amount in (
        (CPU, snapshot.guessed_cpu, request.cpu_guess),
        (MEMORY, snapshot.guessed_memory, request.memory_guess),
    ):
        total = np.maximum(snapshot.amounts(name), 1)
        parts.append(np.clip((used + amount) / total, 0.0, 1.0))
    cpu, memory = parts
    least = 100.0 * (1.0 - (cpu + memory) / 2)
    balanced = 100.0 * (1.0 - np.abs(cpu - memory) / 2)
    return least + balanced


def spreading(pod: Pod, snapshot: Snapshot, possible: Mask) -> Score | None:
    """Fewer pods of the same controller are better."""
    owner = controller_of(pod)
    rows = snapshot.owners.get(owner.uid) if owner is not None else None
    if not rows:
        return None
    counts = np.zeros(len(possible), dtype=np.float64)
    for row, count in rows.items():
        counts[row] = count
    most = counts[possible].max()
    return 100.0 * (1.0 - counts / most) if most else None


def soft_taints(pod: Pod, snapshot: Snapshot, possible: Mask) -> Score | None:
    counts = np.zeros(len(possible), dtype=np.float64)
    for (key, value, effect), rows in snapshot.taints.items():
        taint = Taint(key=key, value=value, effect=effect)
        if effect == "PreferNoSchedule" and not any(tolerates(t, taint) for t in pod.spec.tolerations):
            counts += rows
    most = counts[possible].max()
    return 100.0 * (1.0 - counts / most) if most else None


def preferred_nodes(pod: Pod, snapshot: Snapshot, possible: Mask) -> Score | None:
    weights = preferred_weights(snapshot, pod)
    if weights is None:
        return None
    most = weights[possible].max()
    return 100.0 * weights / most if most > 0 else None


def total(pod: Pod, request: Request, snapshot: Snapshot, possible: Mask) -> Score:
    score = resources(request, snapshot)
    for weight, part in (
        (2.0, spreading(pod, snapshot, possible)),
        (3.0, soft_taints(pod, snapshot, possible)),
        (2.0, preferred_nodes(pod, snapshot, possible)),
    ):
        if part is not None:
            score = score + weight * part
    return score
