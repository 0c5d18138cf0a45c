"""Empties a namespace that is being deleted, then takes away its finalizer, so that it goes.

What keeps it from going stands in its conditions: which kinds have objects left, and whose finalizers hold them.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.keys import Key
from kubeapi.errors import ApiError, Conflict, NotFound
from kubeapi.meta import replace, set_condition
from kubeapi.scheme import SCHEME
from kubeapi.types.core_v1 import Namespace, NamespaceCondition

FINALIZER = "kubernetes"
AGAIN = 1.0
"""Seconds until the rest is looked at again; what goes by itself (pods with grace) needs no event to tell us."""

TYPES: list[Any] = [
    r.type
    for r in SCHEME.resources
    if r.namespaced and r.group not in ("metrics.k8s.io", "authorization.k8s.io") and r.plural != "evictions"
]


class Namespaces:
    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._client = shared.client
        self._namespaces = shared.informers.of(Namespace)
        self.controller: Controller[Key] = Controller(
            "namespace",
            self.reconcile,
            sources={self._namespaces: own_key},
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
            workers=2,
        )

    async def reconcile(self, key: Key) -> Done:
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return Done()
        if FINALIZER not in namespace.spec.finalizers:
            return Done()
        left, finalizers, failures = await self._empty(key.name)
        with suppress(NotFound, Conflict):
            if left or failures:
                await self._tell(namespace, left, finalizers, failures)
                return Done(requeue_after=AGAIN)
            kept = [f for f in namespace.spec.finalizers if f != FINALIZER]
            freed = replace(namespace, spec=replace(namespace.spec, finalizers=kept))
            await self._client.update(freed, subresource="finalize")
            return Done()
        return Done(requeue_after=AGAIN)

    async def _empty(self, name: str) -> tuple[Counter[str], Counter[str], list[str]]:
        """Deletes what is there; returns what was, by kind and by finalizer, and what failed."""
        left: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        failures: list[str] = []
        for type_ in TYPES:
            try:
                listing = await self._client.list(type_, name)
            except ApiError as error:
                failures.append(f"{type_.__name__}: {error}")
                continue
            for obj in listing.items:
                left[SCHEME.resource_of(type_).qualified] += 1
                finalizers.update(obj.metadata.finalizers)
                if obj.metadata.deletion_timestamp is not None:
                    continue
                try:
                    await self._client.delete(type_, obj.metadata.name, name, propagation="Background")
                except NotFound:
                    continue
                except ApiError as error:
                    failures.append(f"{type_.__name__} {obj.metadata.name}: {error}")
        return left, finalizers, failures

    async def _tell(
        self, namespace: Namespace, left: Counter[str], finalizers: Counter[str], failures: list[str]
    ) -> None:
        now = self._shared.clock.now().replace(microsecond=0)
        kinds = ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(left.items()))
        holders = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        conditions = namespace.status.conditions
        for type_, reason, message in (
            ("NamespaceDeletionContentFailure", "ContentDeletionFailed", "; ".join(failures)),
            (
                "NamespaceContentRemaining",
                "SomeResourcesRemain",
                f"Some resources are remaining: {kinds}" if kinds else "",
            ),
            (
                "NamespaceFinalizersRemaining",
                "SomeFinalizersRemain",
                f"Some content in the namespace has finalizers remaining: {holders}" if holders else "",
            ),
        ):
            condition = NamespaceCondition(
                type=type_,
                status="True" if message else "False",
                reason=reason if message else "ContentRemoved",
                message=message or "All content removed",
            )
            conditions = set_condition(conditions, condition, now)
        if conditions != namespace.status.conditions:
            status = replace(namespace.status, conditions=conditions)
            await self._client.update(replace(namespace, status=status), subresource="status")
