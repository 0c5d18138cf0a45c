"""Whom a `proxy` request means: which pod, at which address and port, and with what path.

    pods/NAME[:PORT]/proxy/...        the pod; its first declared port, or 80, when none is named
    services/NAME[:PORT]/proxy/...    one ready endpoint of the service; its only port when none is named

NAME may be led by `http:`; PORT is a number or a port's name. What stands behind is always a pod of ours: the way
to it leads through its node's agent, so an address that belongs to none cannot be reached, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubeapi.errors import BadRequest, ServiceUnavailable

DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Aim:
    """The name in the URL, taken apart."""

    name: str
    port: str = ""


@dataclass(frozen=True, slots=True)
class Backend:
    pod: str
    """Its name; the namespace is the service's."""
    address: str
    port: int


def aim_of(text: str) -> Aim:
    """Raises BadRequest."""
    match text.split(":"):
        case [name] if name:
            return Aim(name)
        case [name, port] if name:
            return Aim(name, port)
        case ["http" | "", name, port] if name:
            return Aim(name, port)
        case ["https", _, _]:
            raise BadRequest(f'"{text}": the proxy speaks plain HTTP to what is behind it, not HTTPS')
    raise BadRequest(f'"{text}" is no valid name: NAME, NAME:PORT or http:NAME:PORT')


def path_of(target: str, *, namespaced: bool) -> str:
    """What follows `/proxy` in a request's target, query and all, as it was sent."""
    path, question, query = target.partition("?")
    parts = path.strip("/").split("/")
    behind = parts[7 if namespaced else 5 :]
    slash = "/" if behind and path.endswith("/") else ""
    return f"/{'/'.join(behind)}{slash}{question}{query}"


def prefix_of(target: str, *, namespaced: bool) -> str:
    """What `/` of the far side is here, without its final slash."""
    path = target.partition("?")[0]
    return "/" + "/".join(path.strip("/").split("/")[: 7 if namespaced else 5])


def port_of_pod(pod: dict[str, Any], wanted: str) -> int:
    """Raises BadRequest, ServiceUnavailable."""
    declared = [p for c in pod.get("spec", {}).get("containers", []) for p in c.get("ports", [])]
    if not wanted:
        return int(declared[0]["containerPort"]) if declared else DEFAULT_PORT
    if wanted.isdecimal():
        return _number(wanted)
    for port in declared:
        if port.get("name") == wanted:
            return int(port["containerPort"])
    raise ServiceUnavailable(f'pod {pod["metadata"]["name"]} has no port named "{wanted}"')


def backends_of(service: dict[str, Any], endpoints: dict[str, Any], wanted: str) -> list[Backend]:
    """All that are ready. Raises ServiceUnavailable when there is none."""
    name = service["metadata"]["name"]
    ports = service.get("spec", {}).get("ports", [])
    if not wanted and len(ports) == 1:
        chosen = ports[0]
    else:
        chosen = next((p for p in ports if wanted in (p.get("name"), str(p["port"]))), None)
    if chosen is None:
        known = ", ".join(p.get("name") or str(p["port"]) for p in ports)
        raise ServiceUnavailable(f'no such port of service "{name}": "{wanted}"; it has {known or "none"}')
    found = [
        Backend(target["name"], address["ip"], int(port["port"]))
        for subset in endpoints.get("subsets", [])
        for port in subset.get("ports", [])
        if port.get("name", "") == chosen.get("name", "")
        for address in subset.get("addresses", [])
        if (target := address.get("targetRef") or {}).get("kind") == "Pod"
    ]
    if not found:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    return found


def _number(text: str) -> int:
    if not 0 < int(text) < 65536:
        raise BadRequest(f"{text} is no port")
    return int(text)
