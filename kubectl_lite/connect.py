"""From a kubeconfig to a connected session: the one place where kubectl-lite meets the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from kubeapi.client import grpc_client
from kubeapi.client.kubeconfig import KubeconfigError, load
from kubectl_lite.names import UsageError
from kubectl_lite.session import Server


@asynccontextmanager
async def connect(
    path: str, *, context: str, timeout: float, warn: Callable[[str], None]
) -> AsyncIterator[tuple[Server, str]]:
    """The server and the context's namespace. Raises UsageError, saying which file and what is missing in it."""
    try:
        config = load(path, context=context)
    except (KubeconfigError, OSError) as error:
        raise UsageError(f"{error}; set KUBECONFIG or give --kubeconfig (`sampan up` prints its path)") from error
    if not config.grpc:
        raise UsageError("the kubeconfig's cluster has no sampan.dev/grpc extension: is it a Sampan cluster's?")
    async with grpc_client.connect(
        config.grpc,
        ca=config.ca,
        cert=config.cert,
        key=config.key,
        token=config.token,
        timeout=timeout,
        on_warning=warn,
        field_manager="kubectl-lite",
    ) as client:
        yield client, config.namespace
