"""Asks a running cluster, over HTTPS with the admin's certificate, whether it is there and which nodes are ready."""

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any


class Probe:
    """Blocking; each request has a connection of its own."""

    def __init__(self, *, port: int, pki: Path) -> None:
        self._port, self._pki = port, pki

    def _connect(self, timeout: float) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        context.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        return http.client.HTTPSConnection("127.0.0.1", self._port, timeout=timeout, context=context)

    def ready(self) -> bool:
        try:
            connection = self._connect(2.0)
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return False

    def get(self, path: str) -> Any:
        connection = self._connect(10.0)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = response.read()
            if response.status != 200:
                raise OSError(f"GET {path}: {response.status} {body[:200].decode(errors='replace')}")
            return json.loads(body)
        finally:
            connection.close()

    def watch_nodes(self, timeout: float) -> Iterator[Mapping[str, Any]]:
        """Each node as it is and as it changes; ends quietly when nothing more comes for `timeout` seconds."""
        connection = self._connect(timeout)
        try:
            connection.request("GET", "/api/v1/nodes?watch=1", headers={"Accept": "application/json"})
            response = connection.getresponse()
            while line := response.readline():
                event = json.loads(line)
                if event.get("type") in ("ADDED", "MODIFIED"):
                    yield event["object"]
        except TimeoutError:
            return
        finally:
            connection.close()


def is_ready(node: Mapping[str, Any], since: datetime | None = None) -> bool:
    """Ready, and said so not before `since`: what a store remembers of a former life does not count."""
    conditions = node.get("status", {}).get("conditions", [])
    ready = next((item for item in conditions if item.get("type") == "Ready" and item.get("status") == "True"), None)
    if ready is None or since is None:
        return ready is not None
    told = ready.get("lastHeartbeatTime")
    # Times in the API are whole seconds.
    return bool(told) and datetime.fromisoformat(told) >= since.replace(microsecond=0)
