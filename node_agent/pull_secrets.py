"""Who we are at a registry: from a pod's imagePullSecrets to the logins that fit an image. Pure."""

import base64
import binascii
import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from kubeapi.types.core_v1 import Secret
from node_agent.runtimes.interface import Login

DOCKER_HUB = "docker.io"
_TYPES = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}


def logins_for(image: str, secrets: Iterable[Secret]) -> list[Login]:
    """Those whose registry, and path if they name one, is the image's; the most exact first. What cannot be read
    is left out: the registry will say what is missing.
    """
    found: list[tuple[int, Login]] = []
    name = full_name(image)
    for secret in secrets:
        for server, entry in _entries(secret).items():
            if isinstance(entry, dict) and _fits(server, name) and (login := _login(entry)) is not None:
                found.append((len(server), login))
    return [login for _, login in sorted(found, key=lambda item: -item[0])]


def full_name(image: str) -> str:
    """Registry and repository, without tag and digest."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = head + slash + tail.partition(":")[0]
    first, slash, rest = name.partition("/")
    if not slash:
        return f"{DOCKER_HUB}/library/{name}"
    if "." in first or ":" in first or first == "localhost":
        return f"{DOCKER_HUB}/{rest}" if first == "index.docker.io" else name
    return f"{DOCKER_HUB}/{name}"


def _fits(server: str, name: str) -> bool:
    text = server.partition("://")[2] or server
    host, _, path = text.rstrip("/").partition("/")
    if path in ("v1", "v2"):
        path = ""
    if host in ("index.docker.io", "registry-1.docker.io"):
        host = DOCKER_HUB
    registry, _, repository = name.partition("/")
    if host.count(".") != registry.count(".") or not fnmatchcase(registry, host):
        return False
    return not path or repository == path or repository.startswith(path + "/")


def _entries(secret: Secret) -> dict[str, Any]:
    data = secret.data.get(_TYPES.get(secret.type, ""))
    try:
        read = json.loads(data) if data else {}
    except ValueError:
        return {}
    if secret.type == "kubernetes.io/dockerconfigjson" and isinstance(read, dict):
        read = read.get("auths", {})
    return read if isinstance(read, dict) else {}


def _login(entry: dict[str, Any]) -> Login | None:
    if token := entry.get("identitytoken"):
        return Login(identity_token=str(token))
    if entry.get("username"):
        return Login(str(entry["username"]), str(entry.get("password", "")))
    try:
        user, colon, password = base64.b64decode(str(entry.get("auth", ""))).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return Login(user, password.rstrip("\0")) if colon else None
