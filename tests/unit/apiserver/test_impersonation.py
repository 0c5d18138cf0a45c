"""What is asked of whom before somebody counts as somebody else."""

from __future__ import annotations

import pytest

from controlplane.apiserver.auth.attributes import Attributes, User
from controlplane.apiserver.auth.impersonation import Wish, become, wish_of
from kubeapi.errors import BadRequest, Forbidden

AUTHN = "authentication.k8s.io"


def ask(resource: str, name: str, *, group: str = "", sub: str = "", namespace: str = "") -> Attributes:
    return Attributes("impersonate", group, resource, sub, namespace, name)


@pytest.mark.parametrize(
    ("headers", "user", "asked"),
    [
        ([("impersonate-user", "bob")], User("bob", ("system:authenticated",)), [ask("users", "bob")]),
        (
            [("impersonate-user", "bob"), ("impersonate-group", "a"), ("impersonate-group", "b"), ("impersonate-uid", "7")],
            User("bob", ("a", "b", "system:authenticated"), "7"),
            [ask("users", "bob"), ask("groups", "a"), ask("groups", "b"), ask("uids", "7", group=AUTHN)],
        ),
        (
            [("impersonate-user", "bob"), ("impersonate-extra-scopes", "x"), ("impersonate-extra-scopes", "y"),
             ("impersonate-extra-acme.com%2fp", "z")],
            User("bob", ("system:authenticated",), "", {"scopes": ("x", "y"), "acme.com/p": ("z",)}),
            [ask("users", "bob"), ask("userextras", "x", group=AUTHN, sub="scopes"),
             ask("userextras", "y", group=AUTHN, sub="scopes"), ask("userextras", "z", group=AUTHN, sub="acme.com/p")],
        ),
        (
            [("impersonate-user", "bob"), ("impersonate-extra", "acme.com/p=y=z")],
            User("bob", ("system:authenticated",), "", {"acme.com/p": ("y=z",)}),
            [ask("users", "bob"), ask("userextras", "y=z", group=AUTHN, sub="acme.com/p")],
        ),
        (
            [("impersonate-user", "system:serviceaccount:ns:sa")],
            User("system:serviceaccount:ns:sa", ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")),
            [ask("serviceaccounts", "sa", namespace="ns")],
        ),
        (
            [("impersonate-user", "system:serviceaccount:ns:sa"), ("impersonate-group", "system:serviceaccounts")],
            User("system:serviceaccount:ns:sa", ("system:serviceaccounts", "system:authenticated")),
            [ask("serviceaccounts", "sa", namespace="ns"), ask("groups", "system:serviceaccounts")],
        ),
        (
            [("impersonate-user", "system:serviceaccount:odd")],
            User("system:serviceaccount:odd", ("system:authenticated",)),
            [ask("users", "system:serviceaccount:odd")],
        ),
        (
            [("impersonate-user", "system:anonymous")],
            User("system:anonymous", ("system:unauthenticated",)),
            [ask("users", "system:anonymous")],
        ),
    ],
)  # fmt: skip
def test_each_part_of_a_wish_is_asked_for(headers: list[tuple[str, str]], user: User, asked: list[Attributes]) -> None:
    wish, seen = wish_of([("accept", "x"), *headers]), list[Attributes]()
    assert wish is not None
    assert become(wish, seen.append) == user
    assert seen == asked


def test_one_refusal_is_enough() -> None:
    def check(ask: Attributes) -> None:
        if ask.resource == "groups":
            raise Forbidden("no")

    with pytest.raises(Forbidden):
        become(Wish("bob", ("system:masters",)), check)


@pytest.mark.parametrize(
    "name",
    ["impersonate-group", "impersonate-uid", "impersonate-extra-x", "impersonate-extra", "impersonate-everybody"],
)
def test_a_wish_without_a_user_or_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        wish_of([(name, "x")])


def test_no_wish_is_none() -> None:
    assert wish_of([("authorization", "x"), ("sampan-request-id", "y")]) is None
