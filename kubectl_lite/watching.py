"""Following a collection: what there is, then every change, across the server's own endings of a watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from kubeapi.errors import Expired
from kubeapi.scheme import Resource
from kubectl_lite.session import Session


async def follow(
    session: Session, resource: Resource, namespace: str, *, labels: str = "", fields: str = ""
) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """First ADDED for each present object, then ("SYNCED", {}) once, then what happens. Never ends by itself.

    When the history was lost, the collection is listed again: what is new or changed comes as MODIFIED, what is gone
    as DELETED with its last known state.
    """
    known: dict[str, dict[str, Any]] = {}
    objects, version = await session.server.list(resource, namespace, labels=labels, fields=fields)
    for obj in objects:
        known[_key(obj)] = obj
        yield "ADDED", obj
    yield "SYNCED", {}
    while True:
        try:
            async for type_, obj in session.server.watch(resource, namespace, version, labels=labels, fields=fields):
                version = max(version, int(obj["metadata"].get("resourceVersion") or 0))
                if type_ == "DELETED":
                    known.pop(_key(obj), None)
                else:
                    known[_key(obj)] = obj
                yield type_, obj
        except Expired:
            objects, version = await session.server.list(resource, namespace, labels=labels, fields=fields)
            now = {_key(obj): obj for obj in objects}
            for key in [key for key in known if key not in now]:
                yield "DELETED", known.pop(key)
            for key, obj in now.items():
                if known.get(key) != obj:
                    yield "MODIFIED" if key in known else "ADDED", obj
            known = now


def _key(obj: dict[str, Any]) -> str:
    metadata = obj["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"
