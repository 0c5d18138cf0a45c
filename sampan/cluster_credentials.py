"""The certificates and kubeconfigs of a one-machine cluster. What is there and good is kept."""

from collections.abc import Mapping
from datetime import datetime

from sampan.cluster_layout import ADMIN, KUBERNETES, Layout, Settings, node_identity
from sampan.cluster_pki import Pki, write_private

_NAMES = (
    "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
)  # fmt: skip


def make_credentials(
    layout: Layout, settings: Settings, *, machine: str, nodes: Mapping[str, str], now: datetime
) -> None:
    """`machine`: the API server's address, as nodes and pods reach it. `nodes`: their addresses by name. Blocking."""
    pki = Pki(layout.pki, now=now)
    pki.authority()
    pki.server("apiserver", addresses=["127.0.0.1", machine, KUBERNETES], names=_NAMES)
    pki.token_key()
    members = [(ADMIN, "", "127.0.0.1"), *((node_identity(name), address, machine) for name, address in nodes.items())]
    for identity, serves, host in members:
        pki.client(identity, addresses=[serves] if serves else [])
        text = pki.kubeconfig(identity, server=f"https://{host}:{settings.port}", grpc=f"{host}:{settings.grpc_port}")
        write_private(layout.kubeconfig(identity), text)
