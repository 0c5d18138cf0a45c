"""Which nodes a pod may go to: functions of (pod, columns) that say, per refused node, why.

They run in the order of FILTERS; a node is refused by the first that objects, and only that one's reasons count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from controlplane.scheduler.affinity import required_mask
from controlplane.scheduler.requests import PODS, Request
from controlplane.scheduler.snapshot import Mask, Snapshot
from kubeapi.placement import tolerates
from kubeapi.types.core_v1 import Pod, Taint

Refusal = tuple[str, Mask]
"""A reason, and the rows that it refuses (of those asked about, and perhaps others)."""
Filter = Callable[[Pod, Request, Snapshot], Iterator[Refusal]]


def unschedulable(pod: Pod, request: Request, snapshot: Snapshot) -> Iterator[Refusal]:
    taint = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
    if not any(tolerates(t, taint) for t in pod.spec.tolerations):
        yield "node(s) were unschedulable", snapshot.unschedulable


def taints(pod: Pod, request: Request, snapshot: Snapshot) -> Iterator[Refusal]:
    """Of a node with several, the first is named."""
    told = snapshot.nothing()
    for (key, value, effect), rows in snapshot.taints.items():
        if effect not in ("NoSchedule", "NoExecute"):
            continue
        taint = Taint(key=key, value=value, effect=effect)
        if not any(tolerates(t, taint) for t in pod.spec.tolerations):
            yield f"node(s) had untolerated taint {{{key}: {value}}}", rows & ~told
            told |= rows


def node_affinity(pod: Pod, request: Request, snapshot: Snapshot) -> Iterator[Refusal]:
    mask = required_mask(snapshot, pod)
    if mask is not None:
        yield "node(s) didn't match Pod's node affinity/selector", ~mask


def ports(pod: Pod, request: Request, snapshot: Snapshot) -> Iterator[Refusal]:
    taken = snapshot.nothing()
    for address, protocol, port in request.ports:
        for (other, other_protocol, other_port), rows in snapshot.ports.items():
            same = (protocol, port) == (other_protocol, other_port)
            if same and (address == other or "0.0.0.0" in (address, other)):
                taken[list(rows)] = True
    if request.ports:
        yield "node(s) didn't have free ports for the requested pod ports", taken


def resources(pod: Pod, request: Request, snapshot: Snapshot) -> Iterator[Refusal]:
    """Several may be short at once: all are told."""
    for name, amount in sorted(request.amounts.items()):
        if amount:
            reason = "Too many pods" if name == PODS else f"Insufficient {name}"
            yield reason, snapshot.free(name) < amount


FILTERS: tuple[Filter, ...] = (unschedulable, taints, node_affinity, ports, resources)


def run_filters(
    pod: Pod,
    request: Request,
    snapshot: Snapshot,
    refused: dict[str, int],
    filters: tuple[Filter, ...] = FILTERS,
) -> Mask:
    """The rows that pass; counts the reasons of the others into `refused`."""
    left = snapshot.alive.copy()
    for function in filters:
        objects = snapshot.nothing()
        for reason, rows in function(pod, request, snapshot):
            hit = rows & left
            count = int(np.count_nonzero(hit))
            if count:
                refused[reason] = refused.get(reason, 0) + count
                objects |= hit
        left &= ~objects
        if not left.any():
            break
    return left
