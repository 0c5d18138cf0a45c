"""What an HTTP request asks, read from method and URL alone: pure, so every odd path is a line in a test.

GET /api/v1/namespaces/d/pods/web/log?follow=true
  → verb get, group "", version v1, namespace d, resource pods, name web, subresource log
"""

from __future__ import annotations

import functools
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from controlplane.apiserver.auth.authz import Attributes
from kubeapi.errors import BadRequest, MethodNotAllowed

STREAMS = ("exec", "attach", "portforward", "log", "proxy")
SHORT = 200
"""Characters of a target that is remembered with what it asks: collections are asked for again and again."""
_TRUE = ("true", "1", "t", "T", "TRUE", "True")
_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


class RequestInfo(Struct, frozen=True, gc=False):
    method: str
    path: str
    query: dict[str, list[str]] = {}
    verb: str = ""
    group: str = ""
    version: str = ""
    namespace: str = ""
    resource: str = ""
    """Empty: the request is not about a resource; only `path` counts."""
    name: str = ""
    subresource: str = ""
    rest: str = ""
    """What follows the subresource: the path of a proxied request."""

    def one(self, name: str) -> str:
        """The first value of a query parameter, or the empty string."""
        values = self.query.get(name)
        return values[0] if values else ""

    def flag(self, name: str) -> bool:
        return _flag(self.query, name)

    def number(self, name: str) -> int | None:
        """Raises BadRequest for what is no whole number."""
        text = self.one(name)
        if not text:
            return None
        try:
            value = int(text)
        except ValueError:
            raise BadRequest(f"query parameter {name}: {text!r} is not a whole number") from None
        if not -(2**63) <= value < 2**63:
            raise BadRequest(f"query parameter {name}: {text} does not fit in 64 bits")
        return value

    def attributes(self) -> Attributes:
        if not self.resource:
            return Attributes(verb=self.verb, path=self.path)
        # A WebSocket begins with GET: but who may read pods may not run commands in them.
        verb = "create" if self.subresource in ("exec", "attach", "portforward") else self.verb
        fields = self.one("fieldSelector")
        return Attributes(
            verb, self.group, self.resource, self.subresource, self.namespace, self.name, field_selector=fields
        )


def parse(method: str, target: str) -> RequestInfo:
    """Raises BadRequest, MethodNotAllowed."""
    return _known(method, target) if len(target) <= SHORT else _parse(method, target)


def _parse(method: str, target: str) -> RequestInfo:
    raw_path, _, raw_query = target.partition("?")
    if raw_path.startswith(("http://", "https://")):
        raw_path = "/" + raw_path.split("/", 3)[3] if raw_path.count("/") >= 3 else "/"
    try:
        query = parse_qs(raw_query, keep_blank_values=True, max_num_fields=1000) if raw_query else {}
    except ValueError as error:
        raise BadRequest(f"the query cannot be read: {error}") from error
    if (verb := _VERBS.get(method)) is None:
        raise MethodNotAllowed(f"the server does not answer to {method}")
    path, parts = raw_path, raw_path.strip("/").split("/")
    if "%" in raw_path:
        path, parts = unquote(raw_path), [unquote(part) for part in parts]
        if any("/" in part for part in parts):
            raise BadRequest("a part of the path holds a character that no name can")
    if "\x00" in path:
        raise BadRequest("a part of the path holds a character that no name can")
    found = _resource_parts(parts)
    if found is None:
        return RequestInfo(method, path, query, verb=verb)
    group, version, watch, rest = found
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    name = rest[1] if len(rest) > 1 else ""
    if rest[0] == "namespaces":
        namespace = name
    subresource = rest[2] if len(rest) > 2 else ""
    return RequestInfo(
        method=method,
        path=path,
        query=query,
        verb=_verb_of(verb, query, watch, name, subresource),
        group=group,
        version=version,
        namespace=namespace,
        resource=rest[0],
        name=name,
        subresource=subresource,
        rest="/".join(rest[3:]),
    )


_known = functools.lru_cache(maxsize=1024)(_parse)


def _resource_parts(parts: list[str]) -> tuple[str, str, bool, list[str]] | None:
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    return group, version, watch, rest[1:] if watch else rest


def _verb_of(verb: str, query: dict[str, list[str]], watch: bool, name: str, subresource: str) -> str:
    if verb == "get" and not subresource and (watch or (not name and _flag(query, "watch"))):
        return "watch"
    if verb == "get" and not name:
        return "list"
    if verb == "delete" and not name:
        return "deletecollection"
    return verb


def _flag(query: dict[str, list[str]], name: str) -> bool:
    values = query.get(name)
    return values is not None and (values[0] in _TRUE or values[0] == "")
