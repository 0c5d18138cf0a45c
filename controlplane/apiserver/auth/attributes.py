"""Who asks, and what: the words that authentication, authorization and the doors share."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")


class User(Struct, frozen=True, gc=False):
    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}
    by: str = ""
    """Who asks in this user's name; empty: the user."""


class Attributes(Struct, frozen=True, gc=False):
    """What is asked, in the words of RBAC."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""
    """Of a request that is not about a resource; then the rest is empty."""
    field_selector: str = ""
    """Of a list or a watch: a node may list the pods that are its own."""
