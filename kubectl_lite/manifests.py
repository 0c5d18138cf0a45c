"""Reading manifests: files, folders, URLs, `-`, and what stands in them, each object with where it came from."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeapi.errors import ApiError
from kubeapi.scheme import Resource
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.session import Session

SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class Manifest:
    source: str
    resource: Resource
    object: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.object["metadata"].get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"].get("namespace", ""))


async def read(args: Any, session: Session) -> list[Manifest]:
    """Of -f, -R and -k. Raises UsageError naming file and field."""
    if getattr(args, "kustomize", ""):
        raise UsageError("-k: kustomizations are not supported; render them with `kubectl kustomize DIR` and use -f -")
    found = []
    for path in args.filename:
        for source, text in await _texts(path, session, args.recursive):
            found += [await _manifest(source, document, session) for document in _documents(source, text)]
    return found


async def _texts(path: str, session: Session, recursive: bool) -> list[tuple[str, str]]:
    if path == "-":
        data = await asyncio.to_thread(session.io.stdin.read)
        return [("standard input", data.decode(errors="replace"))]
    if path.startswith(("http://", "https://")):
        return [(path, await asyncio.to_thread(_fetch, path))]
    return await asyncio.to_thread(_files, session.here / path, path, recursive)


def _fetch(url: str) -> str:
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return str(reply.read().decode())
    except (OSError, ValueError) as error:
        raise Failed(f"unable to read {url}: {error}") from error


def _files(place: Path, path: str, recursive: bool) -> list[tuple[str, str]]:
    if not place.exists():
        raise UsageError(f'the path "{path}" does not exist')
    if place.is_file():
        return [(path, _text(place))]
    files = sorted(f for f in place.glob("**/*" if recursive else "*") if f.suffix in SUFFIXES and f.is_file())
    if not files:
        raise UsageError(f"{path}: no .yaml, .yml or .json file there" + ("" if recursive else "; -R looks below it"))
    return [(str(file), _text(file)) for file in files]


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text: {error}") from error


def _documents(source: str, text: str) -> Iterator[dict[str, Any]]:
    from kubectl_lite.printing import yaml_text

    try:
        if text.lstrip().startswith("{"):
            try:
                documents = [json.loads(text)]
            except ValueError:
                documents = yaml_text.load(text)
        else:
            documents = yaml_text.load(text)
    except ApiError as error:
        raise UsageError(f"error parsing {source}: {' '.join(str(error).split())}") from error
    for document in documents:
        if str(document.get("kind", "")).endswith("List") and isinstance(document.get("items"), list):
            yield from document["items"]
        else:
            yield document


async def _manifest(source: str, obj: Any, session: Session) -> Manifest:
    if not isinstance(obj, dict):
        raise UsageError(f"{source}: an object is a mapping with apiVersion and kind, not {type(obj).__name__}")
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    for field, value in (("apiVersion", api_version), ("kind", kind)):
        if not isinstance(value, str) or not value:
            raise UsageError(
                f'error validating "{source}": error validating data: {field} not set; every object needs one'
            )
    resource = await session.names.by_kind(str(api_version), str(kind))
    if resource is None:
        given = obj.get("metadata")
        named: dict[str, Any] = given if isinstance(given, dict) else {}
        raise UsageError(
            f'resource mapping not found for name: "{named.get("name", "")}" namespace: "{named.get("namespace", "")}" '
            f'from "{source}": no matches for kind "{kind}" in version "{api_version}"\n'
            "ensure CRDs are installed first; `kubectl-lite api-resources` lists what there is"
        )
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise UsageError(f'error validating "{source}": {kind}: metadata is required and must be a mapping')
    if not resource.namespaced:
        return Manifest(source, resource, obj)
    given = metadata.get("namespace")
    if given and session.explicit_namespace and given != session.namespace:
        raise UsageError(
            f'the namespace from the provided object "{given}" does not match the namespace "{session.namespace}". '
            f"You must pass '--namespace={given}' to perform this operation."
        )
    if not given:
        obj = obj | {"metadata": metadata | {"namespace": session.namespace}}
    return Manifest(source, resource, obj)
