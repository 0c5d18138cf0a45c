"""Where the cluster is, and who we are: read from a kubeconfig file, as kubectl does.

The gRPC door's address is in an extension of the cluster entry, which other clients pass over:

    extensions: [{name: sampan.dev/grpc, extension: {address: "127.0.0.1:6444"}}]
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GRPC_EXTENSION = "sampan.dev/grpc"
DEFAULT = "~/.kube/config"


class KubeconfigError(ValueError):
    """The file cannot be used; the text says where and why."""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    server: str
    """https://host:port; empty when the cluster has only a gRPC door."""
    grpc: str
    """host:port; empty when the cluster has no gRPC door."""
    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    token: str
    namespace: str
    """The context's, else "default"."""
    as_user: str = ""
    """Whom to ask as, in place of oneself; and with which UID, groups and extras."""
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_extra: tuple[tuple[str, str], ...] = ()
    """Keys, each as often as it has values."""


def load(path: str = "", *, context: str = "") -> Kubeconfig:
    """`path` as in $KUBECONFIG: of several names, split by ":", the first that exists. Empty: ~/.kube/config.

    Raises KubeconfigError; FileNotFoundError when there is no such file.
    """
    candidates = [Path(part).expanduser() for part in (path or DEFAULT).split(":") if part]
    file = next((candidate for candidate in candidates if candidate.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"there is no kubeconfig file {' or '.join(map(str, candidates))}")
    return parse(file.read_text(), context=context, base=file.parent, name=str(file))


def parse(text: str, *, context: str = "", base: Path = Path(), name: str = "kubeconfig") -> Kubeconfig:
    """Relative file names in it are relative to `base`."""
    config = _read(text, name)
    chosen = context or config.get("current-context") or ""
    if not chosen:
        raise KubeconfigError(f"{name}: no context is chosen: set current-context, or name one")
    entry = _named(config, "contexts", "context", chosen, name)
    cluster = _named(config, "clusters", "cluster", entry.get("cluster", ""), name)
    user = _named(config, "users", "user", entry["user"], name) if entry.get("user") else {}
    token = user.get("token") or ""
    if not token and user.get("tokenFile"):
        token = (base / user["tokenFile"]).read_text().strip()
    return Kubeconfig(
        server=cluster.get("server", ""),
        grpc=_grpc_address(cluster),
        ca=_bytes(cluster, "certificate-authority", base, name),
        cert=_bytes(user, "client-certificate", base, name),
        key=_bytes(user, "client-key", base, name),
        token=token,
        namespace=entry.get("namespace") or "default",
        as_user=str(user.get("as") or ""),
        as_uid=str(user.get("as-uid") or ""),
        as_groups=tuple(map(str, user.get("as-groups") or ())),
        as_extra=tuple((k, str(v)) for k, values in (user.get("as-user-extra") or {}).items() for v in values),
    )


def _read(text: str, name: str) -> dict[str, Any]:
    """Without kubeapi.codec, whose imports would double the time that kubectl-lite takes to start."""
    try:
        config = json.loads(text) if text.startswith("{") else _yaml(text)
    except ValueError as error:
        raise KubeconfigError(f"{name} cannot be read: {error}") from error
    if not config:
        raise KubeconfigError(f"{name} is empty")
    if not isinstance(config, dict):
        raise KubeconfigError(f"{name} is no mapping")
    return config


def _yaml(text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _named(config: dict[str, Any], plural: str, singular: str, wanted: str, file: str) -> dict[str, Any]:
    for entry in config.get(plural) or []:
        if entry.get("name") == wanted:
            return dict(entry.get(singular) or {})
    raise KubeconfigError(f'{file}: {plural} has no "{wanted}"')


def _grpc_address(cluster: dict[str, Any]) -> str:
    for entry in cluster.get("extensions") or []:
        if entry.get("name") == GRPC_EXTENSION:
            found = entry.get("extension") or {}
            return str(found.get("address") or found.get("server") or "")
    return ""


def _bytes(entry: dict[str, Any], field: str, base: Path, file: str) -> bytes | None:
    """The content of `field`-data, or of the file that `field` names."""
    if data := entry.get(f"{field}-data"):
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error as error:
            raise KubeconfigError(f"{file}: {field}-data is not base64: {error}") from error
    if path := entry.get(field):
        return (base / str(path)).read_bytes()
    return None
