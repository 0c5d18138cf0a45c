"""Who asks: by client certificate, else by bearer token.

A certificate has already been checked against the cluster's authority when it comes here: TLS did that.
A token is looked up; a wrong one is refused even beside a good certificate, because the caller means to be
somebody it is not. Nobody is let in without either, but to the health endpoints.
"""

from __future__ import annotations

import csv
import hmac
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from controlplane.apiserver.auth.attributes import AUTHENTICATED, User
from kubeapi.errors import Unauthorized
from kubeapi.meta import replace

__all__ = ["AUTHENTICATED", "Authenticator", "StaticTokens", "TokenSource", "User", "subject_of"]


class TokenSource(Protocol):
    def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        """`audiences`: whom the token must be for; the API server when none is named."""
        ...


class StaticTokens:
    """Tokens known from the start: `token,user,uid,"group,group"` a line, as kube-apiserver's token file."""

    def __init__(self, tokens: Mapping[str, User]) -> None:
        self._tokens = {token.encode(): user for token, user in tokens.items()}

    @classmethod
    def parse(cls, lines: Iterable[str]) -> StaticTokens:
        tokens = {}
        for row in csv.reader(line for line in lines if line.strip() and not line.startswith("#")):
            if len(row) < 3:
                raise ValueError("a line of the token file needs at least: token,user,uid")
            groups = tuple(group for group in (row[3].split(",") if len(row) > 3 else ()) if group)
            tokens[row[0]] = User(row[1], groups, row[2])
        return cls(tokens)

    def user_of(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        given = token.encode()
        found = None
        for known, user in self._tokens.items():  # all of them, so that the time tells nothing
            if hmac.compare_digest(known, given):
                found = user
        return found


class Authenticator:
    def __init__(self, tokens: Iterable[TokenSource] = ()) -> None:
        self._tokens = list(tokens)

    def user_of(self, *, subject: User | None, authorization: str = "") -> User:
        """`subject` is what the client certificate says; `authorization` the header. Unauthorized."""
        scheme, _, token = authorization.partition(" ") if authorization else ("", "", "")
        if token.strip() and scheme.lower() == "bearer":
            if (user := self.user_of_token(token.strip())) is not None:
                return user
            raise Unauthorized("Unauthorized")
        if subject is not None and subject.name:
            return _member(subject)
        raise Unauthorized("Unauthorized")

    def user_of_token(self, token: str, audiences: Sequence[str] = ()) -> User | None:
        for source in self._tokens:
            if (user := source.user_of(token, audiences)) is not None:
                return _member(user)
        return None


def subject_of(peercert: Mapping[str, Any] | None) -> User | None:
    """The user of a certificate as `SSLObject.getpeercert()` gives it; None when the client showed none."""
    if not peercert:
        return None
    pairs = [pair for part in peercert.get("subject", ()) for pair in part]
    names = [value for key, value in pairs if key == "commonName"]
    groups = tuple(value for key, value in pairs if key == "organizationName")
    return User(names[-1], groups) if names else None


def _member(user: User) -> User:
    if AUTHENTICATED in user.groups:
        return user
    return replace(user, groups=(*user.groups, AUTHENTICATED))
