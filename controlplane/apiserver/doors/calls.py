"""What both doors do with a request once they have read it: find the resource, authorize, decode, call the Api.

A door differs in how it reads and writes; it must not differ in what it allows. So everything between lives here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

import msgspec

from controlplane.apiserver import subresources
from controlplane.apiserver.api import Api
from controlplane.apiserver.auth.authn import Authenticator, User
from controlplane.apiserver.auth.authz import Attributes, Authorizer
from controlplane.apiserver.auth.impersonation import become, wish_of
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.doors.negotiate import Encoding, yaml_object
from controlplane.apiserver.items import ApiEvent, Item, ListResult
from controlplane.apiserver.usage import GROUP as USAGE
from controlplane.apiserver.usage import UsageApi
from controlplane.apiserver.wishes import PatchKind, report_problems
from kubeapi import codec
from kubeapi.errors import BadRequest, Invalid, MethodNotAllowed, NotFound, UnsupportedMediaType
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import autoscaling_v1, core_v1, meta_v1, policy_v1

MISSING = "the server could not find the requested resource"
PARENT_WRITES = ("binding", "eviction")
"""Subresources whose POST answers with a Status, not with an object."""


def find(group: str, version: str, plural: str, kind: str = "") -> Resource:
    """Raises NotFound."""
    resource = SCHEME.by_plural(group, version, plural) if plural else None
    if resource is None and kind:
        resource = SCHEME.by_kind(f"{group}/{version}" if group else version, kind)
    if resource is None or not resource.plural:
        raise NotFound(MISSING)
    return resource


def context(user: User, *, manager: str = "", validation: str = "", dry_run: bool = False) -> RequestContext:
    if validation and validation not in ("Strict", "Warn", "Ignore"):
        raise Invalid(
            f'fieldValidation: Unsupported value: "{validation}": supported values: "Ignore", "Strict", "Warn"'
        )
    return RequestContext(
        user=user.name,
        groups=user.groups,
        uid=user.uid,
        extra=user.extra,
        field_manager=manager,
        field_validation=validation or "Warn",
        dry_run=dry_run,
    )


class Calls:
    def __init__(
        self, api: Api, *, authenticator: Authenticator, authorizer: Authorizer, usage: UsageApi | None = None
    ) -> None:
        self.api = api
        self._usage = usage
        self.authenticator = authenticator
        self.authorizer = authorizer

    def impersonated(self, user: User, headers: Iterable[tuple[str, str]]) -> User:
        """Whom the headers name, if `user` may. Raises Forbidden, BadRequest."""
        wish = wish_of(headers)
        return user if wish is None else become(wish, lambda ask: self.allow(user, ask))

    def jwks(self) -> dict[str, Any]:
        """The public key of service account tokens."""
        if self.api.tokens is None:
            raise NotFound(MISSING)
        return self.api.tokens.keys.jwks()

    def issuer_document(self, address: str) -> dict[str, Any]:
        if self.api.tokens is None:
            raise NotFound(MISSING)
        return {
            "issuer": self.api.tokens.issuer,
            "jwks_uri": f"https://{address}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [self.api.tokens.keys.algorithm],
        }

    def allow(self, user: User, ask: Attributes) -> None:
        """Raises Forbidden, and MethodNotAllowed for what is only read."""
        self.authorizer.check(user, ask)
        if ask.group == USAGE and ask.verb not in ("get", "list"):
            raise MethodNotAllowed(f"the server does not allow {ask.verb} on {ask.resource}.{USAGE}")

    async def get(
        self, ctx: RequestContext, resource: Resource, namespace: str, name: str, subresource: str, version: str = ""
    ) -> Item:
        if resource.group == USAGE and self._usage is not None and not subresource:
            return await self._usage.get(ctx, resource, namespace, name)
        if subresource == "scale":
            return await subresources.get_scale(self.api, ctx, resource, namespace, name)
        if subresource and not (subresource == "status" and resource.status):
            raise NotFound(MISSING)
        return await self.api.get(ctx, resource, namespace, name, resource_version=version)

    async def list(self, ctx: RequestContext, resource: Resource, namespace: str, **wish: Any) -> ListResult:
        if resource.group == USAGE and self._usage is not None:
            return await self._usage.list(ctx, resource, namespace, wish.get("label_selector", ""))
        return await self.api.list(ctx, resource, namespace, **wish)

    def watch(
        self, ctx: RequestContext, resource: Resource, namespace: str, **wish: Any
    ) -> AsyncIterator[Sequence[ApiEvent]]:
        return self.api.watch(ctx, resource, namespace, **wish)

    async def create(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: bytes,
        encoding: Encoding = "json",
    ) -> Item:
        if name and not subresource:
            raise MethodNotAllowed("POST is for collections and subresources, not for a single object")
        if resource.namespaced and not namespace:
            raise BadRequest("namespace: an object of this kind is created in a namespace")
        type_ = body_type(resource, subresource)
        obj = decode(ctx, type_, body, encoding)
        if resource.plural == "bindings" and not subresource:  # the old way to bind
            resource, name, subresource = find("", "v1", "pods"), obj.metadata.name, "binding"
        if subresource and obj.metadata.name and obj.metadata.name != name:
            raise BadRequest(f"name in URL ({name}) does not match name in body ({obj.metadata.name})")
        return await self.api.create(ctx, resource, namespace, obj, name=name, subresource=subresource)

    async def update(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: bytes,
        encoding: Encoding = "json",
    ) -> Item:
        if not name:
            raise MethodNotAllowed("PUT is for a single object")
        obj = decode(ctx, body_type(resource, subresource), body, encoding)
        metadata = obj.metadata
        if metadata.name and metadata.name != name:
            raise BadRequest(f"the name of the object ({metadata.name}) does not match the name on the URL ({name})")
        if resource.namespaced and metadata.namespace and metadata.namespace != namespace:
            raise BadRequest("the namespace of the object does not match the namespace on the URL")
        obj = replace(obj, metadata=replace(metadata, name=name, namespace=namespace if resource.namespaced else ""))
        return await self.api.update(ctx, resource, namespace, name, obj, subresource=subresource)

    async def patch(
        self,
        ctx: RequestContext,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: bytes,
        kind: PatchKind,
    ) -> Item:
        if not name:
            raise MethodNotAllowed("PATCH is for a single object")
        try:
            plain = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"the patch is not JSON: {error}") from error
        return await self.api.patch(ctx, resource, namespace, name, plain, kind, subresource=subresource)


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


def decode(ctx: RequestContext, type_: Any, body: bytes, encoding: Encoding) -> Any:
    """Raises BadRequest: also for a body of another kind."""
    if not body:
        raise BadRequest("the request has no body")
    if encoding == "protobuf":
        obj = codec.decode_protobuf(type_, body)
    elif encoding == "yaml":
        obj, problems = codec.from_builtins_strict(type_, yaml_object(body))
        report_problems(ctx, problems)
    elif ctx.field_validation == "Ignore":
        obj = codec.decode(type_, body)
    else:
        obj, problems = codec.decode_strict(type_, body)
        report_problems(ctx, problems)
    expected = SCHEME.resource_of(type_)
    if obj.kind != expected.kind or obj.api_version != expected.api_version:
        old_eviction = expected.kind == "Eviction" and obj.kind == "Eviction" and obj.api_version == "policy/v1beta1"
        if not old_eviction:
            raise BadRequest(
                f"{obj.kind} in version {obj.api_version!r} does not match what is expected here: "
                f"{expected.kind} in version {expected.api_version!r}"
            )
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
