"""Which form a client wants, and which form its body has.

`Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json` is a list of wishes in order; the
first that we can make is made, and when none can be, 406. Forms: JSON, protobuf, YAML; of a Table and of
metadata only JSON is made (clients that ask for them in protobuf name JSON next). Clients send few different
texts, so the answers are remembered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Literal

from kubeapi.codec import load_yaml
from kubeapi.errors import BadRequest, NotAcceptable, UnsupportedMediaType

Encoding = Literal["json", "protobuf", "yaml"]
PROTOBUF = "application/vnd.kubernetes.protobuf"
TYPES: dict[Encoding, str] = {"json": "application/json", "protobuf": PROTOBUF, "yaml": "application/yaml"}

_ENCODINGS: dict[str, Encoding] = {
    "application/json": "json",
    "application/*": "json",
    "*/*": "json",
    "text/*": "json",
    PROTOBUF: "protobuf",
    "application/yaml": "yaml",
}
_PATCHES: dict[str, Literal["strategic", "merge", "json", "apply"]] = {
    "application/strategic-merge-patch+json": "strategic",
    "application/merge-patch+json": "merge",
    "application/json-patch+json": "json",
    "application/apply-patch+yaml": "apply",
}


@dataclass(frozen=True, slots=True)
class Form:
    encoding: Encoding = "json"
    convert: Literal["", "Table", "PartialObjectMetadata", "PartialObjectMetadataList"] = ""
    version: str = ""
    """meta.k8s.io's, of a Table or of metadata; apidiscovery.k8s.io's, of aggregated discovery."""
    stream: bool = False

    @property
    def content_type(self) -> str:
        return TYPES[self.encoding] + (";stream=watch" if self.stream and self.encoding == "protobuf" else "")


def media(text: str) -> tuple[str, dict[str, str]]:
    kind, *params = text.split(";")
    pairs = (param.strip().partition("=") for param in params)
    return kind.strip().lower(), {name.lower(): value.strip('" ') for name, _, value in pairs}


@functools.lru_cache(maxsize=256)
def wanted(accept: str, *, watch: bool = False) -> Form:
    """The first wish that can be made; a watch is not made as YAML. NotAcceptable."""
    if not accept:
        return Form()
    for kind, params in _wishes(accept):
        encoding = _ENCODINGS.get(kind)
        if encoding is None or (watch and encoding == "yaml"):
            continue
        as_ = params.get("as", "")
        if not as_:
            return Form(encoding, stream=watch)
        ours = params.get("g") == "meta.k8s.io" and params.get("v") in ("v1", "v1beta1")
        if ours and encoding != "protobuf" and as_ in ("Table", "PartialObjectMetadata", "PartialObjectMetadataList"):
            return Form(encoding, as_, params["v"])  # type: ignore[arg-type]
    made = ", ".join(TYPES.values())
    raise NotAcceptable(f"only the following media types can be answered: {made}")


def discovery_version(accept: str) -> str:
    """The aggregated form asked first ("v2", "v2beta1"), or "" for plain lists."""
    for kind, params in _wishes(accept):
        if params.get("as") == "APIGroupDiscoveryList" and params.get("g") == "apidiscovery.k8s.io":
            if kind in ("application/json", "*/*") and params.get("v") in ("v2", "v2beta1"):
                return params["v"]
        elif kind in _ENCODINGS and "as" not in params:
            return ""
    return ""


def _wishes(accept: str) -> list[tuple[str, dict[str, str]]]:
    wishes = [media(part) for part in accept.split(",") if part.strip()]
    return sorted(wishes, key=lambda wish: -_weight(wish[1]))


def _weight(params: dict[str, str]) -> float:
    try:
        return float(params.get("q", "1"))
    except ValueError:
        return 0.0


@functools.lru_cache(maxsize=256)
def body_encoding(content_type: str) -> Encoding:
    """UnsupportedMediaType. A body without a type is JSON, as kube-apiserver takes it."""
    kind, _ = media(content_type) if content_type else ("application/json", {})
    if kind in ("application/json", "text/json"):
        return "json"
    if kind == PROTOBUF:
        return "protobuf"
    if kind in ("application/yaml", "application/x-yaml", "text/yaml"):
        return "yaml"
    allowed = ", ".join(TYPES.values())
    raise UnsupportedMediaType(f"the body of the request was in an unknown format - accepted are: {allowed}")


@functools.lru_cache(maxsize=256)
def patch_kind(content_type: str) -> Literal["strategic", "merge", "json", "apply"]:
    kind, _ = media(content_type)
    if (found := _PATCHES.get(kind)) is None:
        allowed = ", ".join(_PATCHES)
        raise UnsupportedMediaType(f"the body of the request was in an unknown format - accepted are: {allowed}")
    return found


def yaml_object(body: bytes) -> Any:
    documents = load_yaml(body)
    if len(documents) != 1:
        raise BadRequest(f"a request carries one object, not {len(documents)}")
    return documents[0]
