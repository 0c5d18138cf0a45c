"""From a kubeconfig to a connected server: the one place where kubectl-lite meets the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import grpc

from kubeapi.client.grpc_target import target
from kubeapi.client.kubeconfig import Kubeconfig, KubeconfigError, load
from kubectl_lite.errors import Failed
from kubectl_lite.server import OPTIONS, Server


def configured(path: str, *, context: str) -> Kubeconfig:
    """Raises Failed, saying which file and what is missing in it."""
    try:
        config = load(path, context=context)
    except (KubeconfigError, OSError) as error:
        raise Failed(f"{error}\nSet KUBECONFIG or give --kubeconfig; `sampan up` prints its path.") from error
    if not config.grpc:
        raise Failed(
            "the kubeconfig's cluster has no sampan.dev/grpc extension, so there is no gRPC address to talk to\n"
            "Is it a Sampan cluster's? For other clusters use kubectl."
        )
    return config


@asynccontextmanager
async def connect(
    config: Kubeconfig,
    *,
    timeout: float | None,
    warn: Callable[[str], None],
    request_id: str = "",
    impersonate: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[Server]:
    """`timeout` is each call's, in seconds; None waits for ever."""
    where, further = target(config.grpc)
    options = (*OPTIONS, *further)
    if config.ca is None:
        channel = grpc.aio.insecure_channel(where, options=options)
    else:
        credentials = grpc.ssl_channel_credentials(config.ca, config.key, config.cert)
        channel = grpc.aio.secure_channel(where, credentials, options=options)
    async with channel:
        yield Server(
            channel,
            token=config.token,
            timeout=timeout,
            warn=warn,
            request_id=request_id,
            impersonate=impersonate,
        )
