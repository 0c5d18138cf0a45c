"""Every living namespace has a ServiceAccount `default` and the cluster's CA in a ConfigMap; what is deleted comes back."""

from __future__ import annotations

from contextlib import suppress

from controlplane.controllers.shared import Shared
from kubeapi.client.controller import Controller, Done
from kubeapi.client.keys import Key
from kubeapi.errors import AlreadyExists, Forbidden, NotFound
from kubeapi.types.core_v1 import ConfigMap, Namespace, ServiceAccount
from kubeapi.types.meta_v1 import ObjectMeta

ACCOUNT = "default"
CA_CONFIG = "kube-root-ca.crt"


class ServiceAccounts:
    def __init__(self, shared: Shared, *, ca: str) -> None:
        """`ca`: the cluster's CA certificate in PEM; empty publishes none."""
        self._shared = shared
        self._ca = ca
        self._namespaces = shared.informers.of(Namespace)
        self._accounts = shared.informers.named(ServiceAccount, ACCOUNT)
        self._configs = shared.informers.named(ConfigMap, CA_CONFIG)
        self.controller: Controller[Key] = Controller(
            "serviceaccount",
            self.reconcile,
            sources={
                self._namespaces: lambda ns: Key("", ns.metadata.name),
                self._accounts: lambda sa: Key("", sa.metadata.namespace),
                self._configs: lambda cm: Key("", cm.metadata.namespace),
            },
            clock=shared.clock,
            rng=shared.rng,
            metrics=shared.metrics,
        )

    async def reconcile(self, key: Key) -> Done:
        namespace = self._namespaces.get(key)
        if namespace is None or namespace.metadata.deletion_timestamp is not None:
            return Done()
        with suppress(AlreadyExists, Forbidden, NotFound):  # there already, or the namespace is on its way out
            if self._accounts.get(Key(key.name, ACCOUNT)) is None:
                await self._shared.client.create(ServiceAccount(metadata=ObjectMeta(name=ACCOUNT, namespace=key.name)))
        with suppress(AlreadyExists, Forbidden, NotFound):
            if self._ca:
                await self._publish(key.name)
        return Done()

    async def _publish(self, namespace: str) -> None:
        data = {"ca.crt": self._ca}
        held = self._configs.get(Key(namespace, CA_CONFIG))
        if held is None:
            await self._shared.client.create(
                ConfigMap(metadata=ObjectMeta(name=CA_CONFIG, namespace=namespace), data=data)
            )
        elif held.data != data:
            await self._shared.client.patch(ConfigMap, CA_CONFIG, {"data": data}, namespace=namespace)
