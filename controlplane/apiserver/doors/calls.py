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
from controlplane.apiserver.doors.bodies import MISSING, Bodies, body_type
from controlplane.apiserver.doors.negotiate import Encoding
from controlplane.apiserver.items import ApiEvent, Item, ListResult
from controlplane.apiserver.usage import GROUP as USAGE
from controlplane.apiserver.usage import UsageApi
from controlplane.apiserver.wishes import PatchKind
from kubeapi.errors import BadRequest, Invalid, MethodNotAllowed, NotFound
from kubeapi.meta import replace
from kubeapi.scheme import SCHEME, Resource

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
        self._bodies = Bodies()
        self.authenticator = authenticator
        self.authorizer = authorizer

    def impersonated(self, user: User, headers: Iterable[tuple[str, str]]) -> User:
        """Whom the headers name, if `user` may. Raises Forbidden, BadRequest."""
        wish = wish_of(headers)
        if wish is None:
            return user
        return replace(become(wish, lambda ask: self.allow(user, ask)), by=user.name)

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
        obj = self._bodies.decode(ctx, body_type(resource, subresource), body, encoding)
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
        obj = self._bodies.decode(ctx, body_type(resource, subresource), body, encoding)
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
