"""One GET over HTTP, for what has no gRPC call: health, metrics, documents. Blocking."""

from __future__ import annotations

import json
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path

from kubeapi.client.kubeconfig import Kubeconfig
from kubeapi.errors import ApiError, from_status
from kubectl_lite.errors import Failed, UsageError


def get(config: Kubeconfig, path: str, *, timeout: float | None, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """`headers`: further ones; of one name the values are joined. Raises ApiError as the server told it, and Failed when there is none."""
    if not path.startswith("/"):
        raise UsageError(f"--raw takes a path on the server, such as /readyz?verbose or /metrics, not {path!r}")
    if not config.server:
        raise Failed("the kubeconfig's cluster has no server address, so there is no HTTP door to ask")
    request = urllib.request.Request(config.server.rstrip("/") + path)
    if config.token:
        request.add_header("Authorization", f"Bearer {config.token}")
    for name, value in headers:
        known = request.get_header(name.capitalize())
        request.add_header(name, value if known is None else f"{known}, {value}")
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=_tls(config)) as reply:
            return bytes(reply.read())
    except urllib.error.HTTPError as error:
        raise _told(error.read(), error.code) from error
    except OSError as error:
        raise Failed(
            f"{config.server} cannot be reached: {error}\n`sampan status` tells whether the cluster runs."
        ) from error


def _tls(config: Kubeconfig) -> ssl.SSLContext | None:
    if not config.server.startswith("https:"):
        return None
    context = ssl.create_default_context(cadata=config.ca.decode() if config.ca is not None else None)
    if config.cert is not None and config.key is not None:
        # The library takes them from files only.
        with tempfile.TemporaryDirectory(prefix="kubectl-lite-") as folder:
            cert, key = Path(folder, "cert"), Path(folder, "key")
            for file, text in ((cert, config.cert), (key, config.key)):
                file.touch(mode=0o600)
                file.write_bytes(text)
            context.load_cert_chain(cert, key)
    return context


def _told(body: bytes, code: int) -> ApiError | Failed:
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return from_status(status)
    return Failed(f"the server answers {code}: {body.decode(errors='replace').strip()}")
