"""What else bears on a pod's place: its namespace's labels, and the Services and owners that say which pods are one
workload. A version per namespace tells the prepared shapes when to look again."""

from __future__ import annotations

from collections.abc import Mapping

from kubeapi.client.keys import controller_of
from kubeapi.selectors import LabelQuery, label_query
from kubeapi.types.core_v1 import Pod
from kubeapi.types.meta_v1 import LabelSelector

Selector = LabelSelector | Mapping[str, str] | None
OWNERS = frozenset({"ReplicationController", "ReplicaSet", "StatefulSet"})


class Surroundings:
    namespaces: dict[str, dict[str, str]]
    """Name to labels; the tallies read it too."""
    _missing: set[tuple[str, str, str]]
    """Owners that were asked for and not known: their coming matters."""

    def __init__(self) -> None:
        self.namespaces = {}
        self._services: dict[str, dict[str, dict[str, str]]] = {}
        self._owners: dict[tuple[str, str, str], LabelQuery] = {}
        self._versions: dict[str, int] = {}
        self._base = 0
        self._missing = set()

    def version(self, namespace: str) -> int:
        return self._base + self._versions.get(namespace, 0)

    def set_namespace(self, name: str, labels: Mapping[str, str] | None) -> bool:
        """None: it is gone. Whether anything changed."""
        if (dict(labels) if labels is not None else None) == self.namespaces.get(name):
            return False
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = dict(labels)
        self._base += 1
        return True

    def set_service(self, namespace: str, name: str, selector: Mapping[str, str] | None) -> None:
        """None or empty: it selects nothing."""
        services = self._services.setdefault(namespace, {})
        if services.get(name, {}) == dict(selector or {}):
            return
        if selector:
            services[name] = dict(selector)
        else:
            del services[name]
        self._changed(namespace)

    def set_owner(self, kind: str, namespace: str, name: str, selector: Selector) -> None:
        """None: it is gone."""
        key = (kind, namespace, name)
        if selector is None:
            self._owners.pop(key, None)
            return
        query = label_query(selector)
        before = self._owners.get(key)
        self._owners[key] = query
        if key in self._missing or (before is not None and before != query):
            self._missing.discard(key)
            self._changed(namespace)

    def _changed(self, namespace: str) -> None:
        self._versions[namespace] = self._versions.get(namespace, 0) + 1

    def workload(self, pod: Pod) -> LabelQuery:
        """The pods that this one should by default keep apart from: those that its Services and its owner all select.

        Empty: nothing is known of any such.
        """
        namespace, labels = pod.metadata.namespace, pod.metadata.labels
        merged: dict[str, str] = {}
        for _, selector in sorted(self._services.get(namespace, {}).items()):
            if all(labels.get(k) == v for k, v in selector.items()):
                merged |= selector
        query = label_query(merged)
        owner = controller_of(pod)
        if owner is not None and owner.kind in OWNERS:
            key = (owner.kind, namespace, owner.name)
            found = self._owners.get(key)
            if found is None:
                self._missing.add(key)
            elif found.nothing:
                return found
            else:
                query = LabelQuery(query.requirements + found.requirements)
        return query
