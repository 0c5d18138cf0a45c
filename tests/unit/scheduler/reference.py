"""kube-scheduler's rules written as plainly as can be: one node after another, nothing kept, no arrays.

Slow and on purpose unlike the code under test, which must come to the same node.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from controlplane.scheduler.requests import request_of, units
from kubeapi.placement import selector_matches, tolerates
from kubeapi.selectors import label_query
from kubeapi.types.core_v1 import Node, Pod, PodAffinityTerm, Taint, TopologySpreadConstraint
from kubeapi.types.meta_v1 import LabelSelector

HOST = "kubernetes.io/hostname"


@dataclass
class World:
    nodes: list[Node]
    ranks: Mapping[str, int]
    pods: list[tuple[Pod, str]] = field(default_factory=list)
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)
    defaults: Callable[[Pod], LabelSelector | None] = lambda pod: None

    def on(self, node: Node) -> list[Pod]:
        return [p for p, n in self.pods if n == node.metadata.name]


def selects(term: PodAffinityTerm, holder: Pod, other: Pod, world: World) -> bool:
    selector = label_query(term.label_selector)
    ours, theirs = holder.metadata.labels, other.metadata.labels
    if any(k in ours and theirs.get(k) != ours[k] for k in term.match_label_keys):
        return False
    if any(k in ours and theirs.get(k) == ours[k] for k in term.mismatch_label_keys):
        return False
    namespace = other.metadata.namespace
    if not term.namespaces and term.namespace_selector is None:
        inside = namespace == holder.metadata.namespace
    else:
        inside = namespace in term.namespaces or (
            term.namespace_selector is not None
            and label_query(term.namespace_selector).matches(world.namespaces.get(namespace, {}))
        )
    return inside and selector.matches(theirs)


def required(pod: Pod, anti: bool) -> Sequence[PodAffinityTerm]:
    affinity: Any = pod.spec.affinity
    part = affinity and (affinity.pod_anti_affinity if anti else affinity.pod_affinity)
    return part.required_during_scheduling_ignored_during_execution if part else ()


def wished(pod: Pod) -> list[tuple[PodAffinityTerm, int]]:
    affinity: Any = pod.spec.affinity
    found = []
    for part, sign in ((affinity and affinity.pod_affinity, 1), (affinity and affinity.pod_anti_affinity, -1)):
        for w in part.preferred_during_scheduling_ignored_during_execution if part else ():
            found.append((w.pod_affinity_term, sign * w.weight))  # noqa: PERF401
    return found


def suits(pod: Pod, node: Node) -> bool:
    labels = node.metadata.labels
    if any(labels.get(k) != v for k, v in pod.spec.node_selector.items()):
        return False
    affinity = pod.spec.affinity and pod.spec.affinity.node_affinity
    needed = affinity.required_during_scheduling_ignored_during_execution if affinity else None
    return selector_matches(needed, node)


def tolerated(pod: Pod, taint: Taint) -> bool:
    return any(tolerates(t, taint) for t in pod.spec.tolerations)


def untainted(pod: Pod, node: Node) -> bool:
    return all(t.effect == "PreferNoSchedule" or tolerated(pod, t) for t in node.spec.taints)


def used(world: World, node: Node, resource: str) -> int:
    return sum(request_of(p).amounts.get(resource, 0) for p in world.on(node))


def capacity(node: Node, resource: str) -> int:
    return units(resource, node.status.allocatable.get(resource, 0))


def has_room(pod: Pod, node: Node, world: World) -> bool:
    for name, amount in request_of(pod).amounts.items():
        if amount and capacity(node, name) - used(world, node, name) < amount:
            return False
    for _, protocol, port in request_of(pod).ports:
        for other in world.on(node):
            if any((q, n) == (protocol, port) for _, q, n in request_of(other).ports):
                return False
    return True


def spread_counts(
    pod: Pod, c: TopologySpreadConstraint, world: World, keys: Sequence[str], matches: Callable[[Pod], bool]
) -> dict[str, int]:
    """Domain to pods, over the nodes that count."""
    found: dict[str, int] = {}
    for node in world.nodes:
        labels = node.metadata.labels
        if any(k not in labels for k in keys) or c.topology_key not in labels:
            continue
        if c.node_affinity_policy != "Ignore" and not suits(pod, node):
            continue
        if c.node_taints_policy == "Honor" and not untainted(pod, node):
            continue
        domain = labels[c.topology_key]
        found[domain] = found.get(domain, 0) + sum(1 for p in world.on(node) if matches(p))
    return found


def spread_matcher(pod: Pod, c: TopologySpreadConstraint) -> Callable[[Pod], bool]:
    def matches(other: Pod) -> bool:
        if other.metadata.namespace != pod.metadata.namespace or other.metadata.deletion_timestamp is not None:
            return False
        ours, theirs = pod.metadata.labels, other.metadata.labels
        same = all(theirs.get(k) == ours[k] for k in c.match_label_keys if k in ours)
        return same and label_query(c.label_selector).matches(theirs)

    return matches


def spread_allows(pod: Pod, node: Node, world: World) -> bool:
    hard = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "DoNotSchedule"]
    keys = [c.topology_key for c in hard]
    for c in hard:
        if c.topology_key not in node.metadata.labels:
            return False
        matches = spread_matcher(pod, c)
        counts = spread_counts(pod, c, world, keys, matches)
        if not counts:
            continue
        least = 0 if len(counts) < (c.min_domains or 1) else min(counts.values())
        here = counts.get(node.metadata.labels[c.topology_key], 0)
        if here + matches(pod) - least > c.max_skew:
            return False
    return True


def company_allows(pod: Pod, node: Node, world: World) -> bool:
    labels = node.metadata.labels
    near = required(pod, anti=False)
    if near:
        if any(t.topology_key not in labels for t in near):
            return False
        friends = [(p, n) for p, n in world.pods if all(selects(t, pod, p, world) for t in near)]
        by_name = {n.metadata.name: n.metadata.labels for n in world.nodes}
        anywhere = any(t.topology_key in by_name[n] for _, n in friends for t in near)
        for t in near:
            met = any(by_name[n].get(t.topology_key) == labels[t.topology_key] for _, n in friends)
            if not met and (anywhere or not all(selects(u, pod, pod, world) for u in near)):
                return False
    for other_node in world.nodes:
        theirs = other_node.metadata.labels
        for other in world.on(other_node):
            rules = [(t, pod, other) for t in required(pod, anti=True)]
            rules += [(t, other, pod) for t in required(other, anti=True)]
            for t, holder, meant in rules:
                here = t.topology_key in labels and labels[t.topology_key] == theirs.get(t.topology_key)
                if here and selects(t, holder, meant, world):
                    return False
    return True


def allowed(pod: Pod, node: Node, world: World) -> bool:
    cordon = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
    return (
        (not node.spec.unschedulable or tolerated(pod, cordon))
        and untainted(pod, node)
        and suits(pod, node)
        and has_room(pod, node, world)
        and spread_allows(pod, node, world)
        and company_allows(pod, node, world)
    )


# ------------------------------------------------------------------ scores


def resource_score(pod: Pod, node: Node, world: World) -> int:
    request = request_of(pod)
    guesses = [request_of(p) for p in world.on(node)]
    least, parts, fractions = 0, 0, []
    for name in ("cpu", "memory"):
        total = capacity(node, name)
        guessed = sum(getattr(g, f"{name}_guess") for g in [*guesses, request])
        if total > 0:
            parts += 1
            least += max(0, (total - guessed) * 100 // total)
            fractions.append(min(1.0, (used(world, node, name) + request.amounts.get(name, 0)) / total))
    score = least // max(parts, 1)
    if not request.amounts.get("cpu") and not request.amounts.get("memory"):
        return score
    if len(fractions) < 2:
        return score + 100
    return score + int((1 - abs(fractions[0] - fractions[1]) / 2) * 100)


def image_score(pod: Pod, node: Node, world: World) -> int:
    mib, containers = 1 << 20, [*pod.spec.init_containers, *pod.spec.containers]
    total = 0
    for c in containers:
        sizes = [(n.metadata.name, i.size_bytes) for n in world.nodes for i in n.status.images if c.image in i.names]
        mine = [size for name, size in sizes if name == node.metadata.name]
        if mine:
            total += int(mine[-1] * (len({name for name, _ in sizes}) / len(world.nodes)))
    most = 1000 * mib * len(containers)
    return 100 * (min(max(total, 23 * mib), most) - 23 * mib) // (most - 23 * mib)


def scaled(values: list[int], turned: bool = False) -> list[int]:
    most = max(values)
    if most == 0:
        return [0] * len(values)
    return [100 - 100 * v // most if turned else 100 * v // most for v in values]


def spread_scores(pod: Pod, nodes: list[Node], world: World) -> list[int]:
    own = pod.spec.topology_spread_constraints
    soft = [c for c in own if c.when_unsatisfiable == "ScheduleAnyway"]
    if not own:
        selector = world.defaults(pod)
        if selector is not None:
            zone = "topology.kubernetes.io/zone"
            soft = [
                TopologySpreadConstraint(max_skew=skew, topology_key=key, label_selector=selector)
                for key, skew in ((HOST, 3), (zone, 5))
            ]
    if not soft:
        return [0] * len(nodes)
    keys = [c.topology_key for c in soft] if own else []
    heeding = [n for n in nodes if all(k in n.metadata.labels for k in keys)]
    raw: dict[str, float] = {}
    for c in soft:
        matches = spread_matcher(pod, c)
        counts = spread_counts(pod, c, world, keys, matches)
        domains = {n.metadata.labels[c.topology_key] for n in heeding if c.topology_key in n.metadata.labels}
        weight = math.log((len(heeding) if c.topology_key == HOST else len(domains)) + 2)
        for n in heeding:
            domain = n.metadata.labels.get(c.topology_key)
            if domain is not None:
                here = sum(map(matches, world.on(n))) if c.topology_key == HOST else counts.get(domain, 0)
                raw[n.metadata.name] = raw.get(n.metadata.name, 0.0) + (here * weight + (c.max_skew - 1))
    whole = {n.metadata.name: math.floor(raw.get(n.metadata.name, 0.0) + 0.5) for n in heeding}
    if not whole:
        return [0] * len(nodes)
    low, high = min(whole.values()), max(whole.values())
    found = {name: 100 * (high + low - v) // high if high else 100 for name, v in whole.items()}
    return [found.get(n.metadata.name, 0) for n in nodes]


def company_scores(pod: Pod, nodes: list[Node], world: World) -> list[int]:
    by_domain: dict[tuple[str, str], int] = {}
    for node in world.nodes:
        for other in world.on(node):
            drawn = [(t, w, pod, other) for t, w in wished(pod)]
            drawn += [(t, w, other, pod) for t, w in wished(other)]
            drawn += [(t, 1, other, pod) for t in required(other, anti=False)]
            for term, weight, holder, meant in drawn:
                domain = node.metadata.labels.get(term.topology_key)
                if domain is not None and selects(term, holder, meant, world):
                    key = (term.topology_key, domain)
                    by_domain[key] = by_domain.get(key, 0) + weight
    raw = [sum(by_domain.get((k, v), 0) for k, v in n.metadata.labels.items()) for n in nodes]
    low, high = min(raw), max(raw)
    return [100 * (r - low) // (high - low) if high > low else 0 for r in raw]


def choose(pod: Pod, world: World) -> str:
    nodes = [n for n in world.nodes if allowed(pod, n, world)]
    if not nodes:
        return ""
    soft = [sum(1 for t in n.spec.taints if t.effect == "PreferNoSchedule" and not tolerated(pod, t)) for n in nodes]
    affinity: Any = pod.spec.affinity and pod.spec.affinity.node_affinity
    terms = affinity.preferred_during_scheduling_ignored_during_execution if affinity else ()
    wishes = [sum(t.weight for t in terms if term_meets(t.preference, n)) for n in nodes]
    parts = zip(
        nodes,
        scaled(soft, turned=True),
        scaled(wishes),
        spread_scores(pod, nodes, world),
        company_scores(pod, nodes, world),
        strict=True,
    )
    totals = [
        (
            resource_score(pod, n, world)
            + image_score(pod, n, world)
            + 3 * taint
            + 2 * wish
            + 2 * spread
            + 2 * company,
            world.ranks[n.metadata.name],
            n.metadata.name,
        )
        for n, taint, wish, spread, company in parts
    ]
    return max(totals)[2]


def term_meets(term: Any, node: Node) -> bool:
    from kubeapi.placement import term_matches

    return term_matches(term, node)
