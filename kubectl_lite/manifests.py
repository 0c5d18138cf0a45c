"""Reading manifests: files, folders, `-`, and what stands in them, each object with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubeapi import codec
from kubeapi.errors import ApiError, BadRequest
from kubeapi.scheme import SCHEME, Resource
from kubectl_lite.names import UsageError
from kubectl_lite.streams import Streams

SUFFIXES = {".yaml", ".yml", ".json"}


@dataclass(frozen=True, slots=True)
class Manifest:
    source: str
    resource: Resource
    object: dict[str, Any]

    @property
    def name(self) -> str:
        return str(self.object.get("metadata", {}).get("name", ""))

    @property
    def namespace(self) -> str:
        return str(self.object.get("metadata", {}).get("namespace", ""))


def read(paths: Sequence[str], io: Streams, *, namespace: str, recursive: bool = False) -> list[Manifest]:
    """Every object of the files, checked against the schema. Raises UsageError, BadRequest naming file and field."""
    return [
        manifest
        for path in paths
        for source, text in _texts(path, io, recursive)
        for manifest in _parse(source, text, namespace)
    ]


def _texts(path: str, io: Streams, recursive: bool) -> Iterator[tuple[str, str]]:
    if path == "-":
        yield "standard input", io.stdin.read().decode()
        return
    place = Path(path)
    if not place.exists():
        raise UsageError(f'the path "{path}" does not exist')
    if place.is_file():
        yield path, place.read_text()
        return
    files = sorted(f for f in place.glob("**/*" if recursive else "*") if f.suffix in SUFFIXES)
    if not files:
        raise UsageError(f"{path}: no .yaml, .yml or .json file there")
    for file in files:
        yield str(file), file.read_text()


def _parse(source: str, text: str, namespace: str) -> Iterator[Manifest]:
    try:
        documents = codec.load_yaml(text)
    except ApiError as error:
        raise BadRequest(f"{source}: {error}") from error
    for document in documents:
        if document.get("kind") == "List":
            for item in document.get("items") or []:
                yield _manifest(source, item, namespace)
        else:
            yield _manifest(source, document, namespace)


def _manifest(source: str, obj: dict[str, Any], namespace: str) -> Manifest:
    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise BadRequest(f"{source}: apiVersion and kind are required and must be strings")
    resource = SCHEME.by_kind(api_version, kind)
    if resource is None or not resource.plural:
        raise BadRequest(f'{source}: no matches for kind "{kind}" in version "{api_version}"')
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise BadRequest(f"{source}: {kind}: metadata is required and must be a mapping")
    if resource.namespaced and not metadata.get("namespace"):
        obj = obj | {"metadata": metadata | {"namespace": namespace}}
    return Manifest(source, resource, obj)
