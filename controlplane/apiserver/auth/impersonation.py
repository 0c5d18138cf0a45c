"""`kubectl --as`: who may, asks as somebody else.

    Impersonate-User, -Group, -Uid, -Extra-KEY ──wish_of──► Wish ──become──► the user who counts from here on, or Forbidden

Over HTTP these are headers, over gRPC metadata under the same names; but a key of metadata may hold no slash, not even encoded, so
there an extra may also come as Impersonate-Extra, KEY=VALUE. For each of them the verb `impersonate` is asked of who really
calls: on users, groups, serviceaccounts, and on uids and userextras/KEY of authentication.k8s.io. Source: Kubernetes, "User
impersonation".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from controlplane.apiserver.auth.attributes import AUTHENTICATED, Attributes, User
from kubeapi.errors import BadRequest

PREFIX = "impersonate-"
_EXTRA = "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_GROUP = "authentication.k8s.io"
ANONYMOUS, UNAUTHENTICATED = "system:anonymous", "system:unauthenticated"


@dataclass(frozen=True, slots=True)
class Wish:
    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: dict[str, tuple[str, ...]] = field(default_factory=dict)


def wished(names: Iterable[str]) -> bool:
    """Whether headers of these names may hold a wish: asked of every request, so all are looked through at once."""
    return PREFIX in " ".join(names)


def wish_of(headers: Iterable[tuple[str, str]]) -> Wish | None:
    """Names in lower case; one that comes several times has several values. None: nothing is wished. Raises BadRequest."""
    user, uid, groups, extra = "", "", list[str](), dict[str, tuple[str, ...]]()
    any_ = False
    for name, value in headers:
        if not name.startswith(PREFIX):
            continue
        any_ = True
        if name == "impersonate-user":
            user = user or value
        elif name == "impersonate-uid":
            uid = uid or value
        elif name == "impersonate-group":
            groups.append(value)
        elif name == "impersonate-extra" and "=" in value:
            key, _, one = value.partition("=")
            extra[key] = (*extra.get(key, ()), one)
        elif name.startswith(_EXTRA):
            key = unquote(name.removeprefix(_EXTRA))
            extra[key] = (*extra.get(key, ()), value)
        else:
            raise BadRequest(f"{name}: there are Impersonate-User, -Group, -Uid and -Extra-KEY")
    if any_ and not user:
        raise BadRequest("requested impersonation without naming a user")
    return Wish(user, tuple(group for group in groups if group), uid, extra) if any_ else None


def become(wish: Wish, check: Callable[[Attributes], None]) -> User:
    """`check` raises Forbidden for what the real caller may not."""
    for ask in _asks(wish):
        check(ask)
    groups = wish.groups
    if not groups and (account := _account(wish.user)) is not None:
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
    known = UNAUTHENTICATED if wish.user == ANONYMOUS else AUTHENTICATED
    if AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups = (*groups, known)
    return User(wish.user, groups, wish.uid, wish.extra)


def _asks(wish: Wish) -> Iterator[Attributes]:
    if (account := _account(wish.user)) is not None:
        yield Attributes("impersonate", "", "serviceaccounts", "", *account)
    else:
        yield Attributes("impersonate", "", "users", name=wish.user)
    for group in wish.groups:
        yield Attributes("impersonate", "", "groups", name=group)
    for key, values in wish.extra.items():
        for value in values:
            yield Attributes("impersonate", _GROUP, "userextras", key, name=value)
    if wish.uid:
        yield Attributes("impersonate", _GROUP, "uids", name=wish.uid)


def _account(name: str) -> tuple[str, str] | None:
    """Namespace and name of a service account."""
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    if not name.startswith(_ACCOUNT) or not colon or not namespace or not account or ":" in account:
        return None
    return namespace, account
