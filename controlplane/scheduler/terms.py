"""Which pods a rule speaks of: a label query and namespaces. What affinities, spreading and the counts of pods share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeapi.selectors import LabelQuery, Requirement, label_query
from kubeapi.types.core_v1 import Pod, PodAffinityTerm
from kubeapi.types.meta_v1 import LabelSelector

Labels = Mapping[str, str]
NamespaceLabels = Mapping[str, Labels]
"""Namespace name to its labels."""


@dataclass(frozen=True, slots=True)
class PodKind:
    """All of a pod that a term can see. Pods of one kind are counted together."""

    namespace: str
    labels: frozenset[tuple[str, str]]
    leaving: bool = False
    """It has a deletion timestamp."""


def kind_of(pod: Pod) -> PodKind:
    meta = pod.metadata
    return PodKind(meta.namespace, frozenset(meta.labels.items()), meta.deletion_timestamp is not None)


@dataclass(frozen=True, slots=True)
class Term:
    query: LabelQuery
    namespaces: frozenset[str]
    namespace_query: LabelQuery | None = None
    """Namespaces by their labels, besides those named. None adds none."""
    living: bool = False
    """Pods that are being deleted do not count (they do for affinity, they do not for spreading)."""

    def selects(self, kind: PodKind, labels: Labels, namespaces: NamespaceLabels) -> bool:
        """`labels` are the kind's, as a mapping."""
        if self.living and kind.leaving:
            return False
        if kind.namespace not in self.namespaces:
            query = self.namespace_query
            if query is None or not query.matches(namespaces.get(kind.namespace, {})):
                return False
        return self.query.matches(labels)


def with_keys(query: LabelQuery, labels: Labels, match: Sequence[str], mismatch: Sequence[str] = ()) -> LabelQuery:
    """matchLabelKeys and mismatchLabelKeys: the pod's own values of these keys join the query; absent keys do not."""
    added = [Requirement(k, "in", frozenset([labels[k]])) for k in match if k in labels]
    added += [Requirement(k, "notin", frozenset([labels[k]])) for k in mismatch if k in labels]
    return LabelQuery(query.requirements + tuple(added), query.nothing) if added else query


def affinity_term(term: PodAffinityTerm, pod: Pod) -> Term:
    """No namespaces and no selector of namespaces mean the pod's own. Raises BadRequest."""
    meta = pod.metadata
    query = with_keys(label_query(term.label_selector), meta.labels, term.match_label_keys, term.mismatch_label_keys)
    namespaces = frozenset(term.namespaces)
    if not namespaces and term.namespace_selector is None:
        namespaces = frozenset([meta.namespace])
    chosen = label_query(term.namespace_selector) if term.namespace_selector is not None else None
    return Term(query, namespaces, chosen)


def spread_term(selector: LabelSelector | None, pod: Pod, match: Sequence[str]) -> Term:
    query = with_keys(label_query(selector), pod.metadata.labels, match)
    return Term(query, frozenset([pod.metadata.namespace]), living=True)
