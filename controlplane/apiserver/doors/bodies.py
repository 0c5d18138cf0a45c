"""What a request's body says: the object in it, in whatever form it came, with its problems told as the client wants.

body_type: which Struct ──► Bodies.decode: JSON | protobuf | YAML ──► of the kind that is expected here
"""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.negotiate import Encoding, yaml_object
from controlplane.apiserver.wishes import report_problems
from kubeapi import codec
from kubeapi.codec_shared import SharedPart
from kubeapi.errors import BadRequest, NotFound, UnsupportedMediaType
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import autoscaling_v1, core_v1, meta_v1, policy_v1

MISSING = "the server could not find the requested resource"


def body_type(resource: Resource, subresource: str) -> Any:
    """The Struct that a body is of. NotFound for a subresource that takes none."""
    if subresource in ("", "status", "finalize", "ephemeralcontainers"):
        return resource.type
    if subresource == "scale" and resource.scale:
        return autoscaling_v1.Scale
    if resource.plural == "pods" and subresource == "binding":
        return core_v1.Binding
    if resource.plural == "pods" and subresource == "eviction":
        return policy_v1.Eviction
    if resource.plural == "serviceaccounts" and subresource == "token":
        from kubeapi.types import authentication_v1

        return authentication_v1.TokenRequest
    raise NotFound(MISSING)


class Bodies:
    """One for all doors of a server: pods of a template are told from each other by their metadata alone, wherever they
    come in."""

    def __init__(self) -> None:
        self._shared: dict[Any, SharedPart[Any]] = {core_v1.Pod: SharedPart(core_v1.Pod, "spec")}

    def decode(self, ctx: RequestContext, type_: Any, body: bytes, encoding: Encoding) -> Any:
        """Raises BadRequest: also for a body of another kind."""
        if not body:
            raise BadRequest("the request has no body")
        if encoding == "protobuf":
            obj = codec.decode_protobuf(type_, body)
        elif encoding == "yaml":
            obj, problems = codec.from_builtins_strict(type_, yaml_object(body))
            report_problems(ctx, problems)
        else:
            obj = self._json(ctx, type_, body)
        expected = SCHEME.resource_of(type_)
        if obj.kind != expected.kind or obj.api_version != expected.api_version:
            old_eviction = (
                expected.kind == "Eviction" and obj.kind == "Eviction" and obj.api_version == "policy/v1beta1"
            )
            if not old_eviction:
                raise BadRequest(
                    f"{obj.kind} in version {obj.api_version!r} does not match what is expected here: "
                    f"{expected.kind} in version {expected.api_version!r}"
                )
        return obj

    def _json(self, ctx: RequestContext, type_: Any, body: bytes) -> Any:
        shared = self._shared.get(type_)
        if shared is not None and (known := shared.decode(body)) is not None:
            return known
        if ctx.field_validation == "Ignore":
            return codec.decode(type_, body)
        obj, problems = codec.decode_strict(type_, body)
        report_problems(ctx, problems)
        return obj


def delete_options(body: bytes, encoding: Encoding) -> meta_v1.DeleteOptions:
    if not body:
        return meta_v1.DeleteOptions()
    if encoding == "protobuf":
        return codec.decode_protobuf(meta_v1.DeleteOptions, body)
    if encoding == "yaml":
        return codec.from_builtins(meta_v1.DeleteOptions, yaml_object(body))
    if encoding != "json":
        raise UnsupportedMediaType("DeleteOptions are read as JSON, protobuf or YAML")
    return codec.decode(meta_v1.DeleteOptions, body)
