"""A pod as the decision sees it: prepared once, shared by all pods that are alike in everything that matters.

Two pods of one workload differ in name, uid and generated volumes; their shape is the same. What pins a pod to one
node by name (a DaemonSet's pods) is kept out of the shape, so that these share one too.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from controlplane.scheduler.requests import Request, request_of
from controlplane.scheduler.snapshot import Snapshot
from controlplane.scheduler.terms import Labels, PodKind, Term, affinity_term, kind_of, spread_term
from kubeapi.client.keys import controller_of
from kubeapi.meta import replace
from kubeapi.placement import tolerates
from kubeapi.types.core_v1 import (
    NodeSelector,
    Pod,
    PodAffinityTerm,
    PreferredSchedulingTerm,
    Taint,
    Toleration,
)

HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
DEFAULT_SPREAD = ((HOSTNAME, 3), (ZONE, 5))
"""(topology key, maxSkew): soft constraints of pods that state none of their own."""
MOST = 512
"""Shapes remembered."""


@dataclass(frozen=True, slots=True)
class Spread:
    key: str
    max_skew: int
    term: Term
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False
    self_match: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Compared by identity: one object per shape, made by Shapes."""

    kind: PodKind
    labels: Labels
    request: Request
    tolerations: Sequence[Toleration]
    node_selector: Labels
    required: NodeSelector | None
    """Without a pin to one node's name."""
    preferred: Sequence[PreferredSchedulingTerm]
    near: tuple[tuple[Term, str], ...] = ()
    """Required affinity: (whom, within what)."""
    apart: tuple[tuple[Term, str], ...] = ()
    """Required anti-affinity."""
    wishes: tuple[tuple[Term, str, int], ...] = ()
    """Preferred affinity and, with negative weights, anti-affinity."""
    attracts_itself: bool = False
    """Its required affinity would be met by a pod like itself."""
    hard: tuple[Spread, ...] = ()
    soft: tuple[Spread, ...] = ()
    soft_by_default: bool = False
    """The soft constraints are the cluster's, which nodes without the labels need not heed."""
    images: tuple[str, ...] = ()
    containers: int = 1

    def tolerates(self, taint: Taint) -> bool:
        return any(tolerates(t, taint) for t in self.tolerations)


def pinned(pod: Pod) -> str:
    """The one node that its required affinity names; empty for most pods."""
    affinity = pod.spec.affinity
    node = affinity.node_affinity if affinity is not None else None
    required = node.required_during_scheduling_ignored_during_execution if node is not None else None
    if required is None or len(required.node_selector_terms) != 1:
        return ""
    fields = required.node_selector_terms[0].match_fields
    if len(fields) != 1 or fields[0].key != "metadata.name" or fields[0].operator != "In":
        return ""
    return fields[0].values[0] if len(fields[0].values) == 1 else ""


def required_of(pod: Pod) -> NodeSelector | None:
    affinity = pod.spec.affinity
    node = affinity.node_affinity if affinity is not None else None
    return node.required_during_scheduling_ignored_during_execution if node is not None else None


def _unpinned(pod: Pod) -> NodeSelector | None:
    required = required_of(pod)
    if required is None or not pinned(pod):
        return required
    term = replace(required.node_selector_terms[0], match_fields=[])
    return replace(required, node_selector_terms=[term]) if term.match_expressions else None


def signature(pod: Pod) -> bytes:
    """Equal for pods of one shape (nearly always the other way round too: the order of labels counts)."""
    spec, meta = pod.spec, pod.metadata
    owner = controller_of(pod)
    affinity = spec.affinity
    around: Any = affinity
    if affinity is not None and pinned(pod):
        node = affinity.node_affinity
        around = (
            _unpinned(pod),
            affinity.pod_affinity,
            affinity.pod_anti_affinity,
            node and node.preferred_during_scheduling_ignored_during_execution,
        )
    return msgspec.json.encode(
        (
            meta.namespace,
            meta.labels,
            meta.deletion_timestamp is not None,
            (owner.kind, owner.name) if owner is not None else None,
            spec.node_selector,
            around,
            spec.tolerations,
            spec.topology_spread_constraints,
            spec.overhead,
            spec.resources,
            [(c.image, c.resources, c.ports) for c in spec.containers],
            [(c.image, c.resources, c.ports, c.restart_policy) for c in spec.init_containers],
        )
    )


def shape_of(pod: Pod, snapshot: Snapshot) -> Shape:
    spec, kind = pod.spec, kind_of(pod)
    labels, namespaces = pod.metadata.labels, snapshot.around.namespaces
    affinity = spec.affinity
    node = affinity.node_affinity if affinity is not None else None
    to_pods = affinity.pod_affinity if affinity is not None else None
    from_pods = affinity.pod_anti_affinity if affinity is not None else None
    near = _terms(to_pods.required_during_scheduling_ignored_during_execution if to_pods else (), pod)
    wishes = [
        (affinity_term(w.pod_affinity_term, pod), w.pod_affinity_term.topology_key, w.weight)
        for w in (to_pods.preferred_during_scheduling_ignored_during_execution if to_pods else ())
    ] + [
        (affinity_term(w.pod_affinity_term, pod), w.pod_affinity_term.topology_key, -w.weight)
        for w in (from_pods.preferred_during_scheduling_ignored_during_execution if from_pods else ())
    ]
    hard, soft, by_default = _spreads(pod, kind, snapshot)
    containers = [*spec.init_containers, *spec.containers]
    return Shape(
        kind=kind,
        labels=labels,
        request=request_of(pod),
        tolerations=spec.tolerations,
        node_selector=spec.node_selector,
        required=_unpinned(pod),
        preferred=node.preferred_during_scheduling_ignored_during_execution if node is not None else (),
        near=near,
        apart=_terms(from_pods.required_during_scheduling_ignored_during_execution if from_pods else (), pod),
        wishes=tuple(wishes),
        attracts_itself=bool(near) and all(t.selects(kind, labels, namespaces) for t, _ in near),
        hard=hard,
        soft=soft,
        soft_by_default=by_default,
        images=tuple(image_name(c.image) for c in containers),
        containers=len(containers),
    )


def image_name(image: str) -> str:
    """With a tag, as nodes report their images."""
    last = image.rpartition("/")[2]
    return image if ":" in last or "@" in image else f"{image}:latest"


def _terms(terms: Sequence[PodAffinityTerm], pod: Pod) -> tuple[tuple[Term, str], ...]:
    return tuple((affinity_term(t, pod), t.topology_key) for t in terms)


def _spreads(pod: Pod, kind: PodKind, snapshot: Snapshot) -> tuple[tuple[Spread, ...], tuple[Spread, ...], bool]:
    """(hard, soft, whether these are the defaults)."""
    labels, namespaces = pod.metadata.labels, snapshot.around.namespaces
    own = pod.spec.topology_spread_constraints
    if not own:
        query = snapshot.around.workload(pod)
        if not query.requirements:
            return (), (), True
        term = Term(query, frozenset([kind.namespace]), living=True)
        return (), tuple(Spread(key, skew, term) for key, skew in DEFAULT_SPREAD), True
    hard: list[Spread] = []
    soft: list[Spread] = []
    for c in own:
        term = spread_term(c.label_selector, pod, c.match_label_keys)
        spread = Spread(
            key=c.topology_key,
            max_skew=c.max_skew,
            term=term,
            min_domains=c.min_domains if c.min_domains is not None else 1,
            honor_affinity=c.node_affinity_policy != "Ignore",
            honor_taints=c.node_taints_policy == "Honor",
            self_match=int(term.selects(PodKind(kind.namespace, kind.labels), labels, namespaces)),
        )
        (soft if c.when_unsatisfiable == "ScheduleAnyway" else hard).append(spread)
    return tuple(hard), tuple(soft), False


def weight_of(domains: int) -> float:
    """The more domains, the more one pod too many in one of them counts."""
    return math.log(domains + 2)


class Shapes:
    """Remembers the shapes of the newest pods, as long as what surrounds them stays."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[bytes, int], Shape] = OrderedDict()

    def of(self, pod: Pod, snapshot: Snapshot) -> Shape:
        key = (signature(pod), snapshot.around.version(pod.metadata.namespace))
        shape = self._known.get(key)
        if shape is None:
            before = key[1]
            shape = shape_of(pod, snapshot)
            if before == snapshot.around.version(pod.metadata.namespace):
                self._known[key] = shape
                if len(self._known) > MOST:
                    self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return shape
