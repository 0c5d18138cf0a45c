"""Reviews: who am I, whose token is this, may he do that. Created, answered by those who decide, never stored."""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.auth.attributes import AUTHENTICATED, Attributes, User
from controlplane.apiserver.auth.authn import Authenticator
from controlplane.apiserver.auth.authz import Authorizer
from kubeapi.errors import FieldError, Invalid
from kubeapi.meta import replace
from kubeapi.types import authentication_v1, authorization_v1


class Reviewer:
    def __init__(self, authorizer: Authorizer, authenticator: Authenticator) -> None:
        self._authorizer = authorizer
        self._authenticator = authenticator

    def answer(self, user: User, obj: Any, namespace: str) -> Any:
        """The review with its status. Raises Invalid."""
        if isinstance(obj, authorization_v1.SelfSubjectAccessReview):
            return replace(obj, status=self._access(user, obj, namespace))
        if isinstance(obj, authorization_v1.SubjectAccessReview | authorization_v1.LocalSubjectAccessReview):
            spec = obj.spec
            if not spec.user and not spec.groups:
                raise _invalid(obj, "spec.user", "at least one of user or group must be specified")
            extra = {k: tuple(v) for k, v in spec.extra.items()}
            return replace(
                obj, status=self._access(User(spec.user, tuple(spec.groups), spec.uid, extra), obj, namespace)
            )
        if isinstance(obj, authorization_v1.SelfSubjectRulesReview):
            if not obj.spec.namespace:
                raise _invalid(obj, "spec.namespace", "no namespace on request")
            return replace(obj, status=self._rules(user, obj.spec.namespace))
        if isinstance(obj, authentication_v1.SelfSubjectReview):
            return replace(obj, status=authentication_v1.SelfSubjectReviewStatus(user_info=_info(user)))
        if isinstance(obj, authentication_v1.TokenReview):
            return replace(obj, status=self._token(obj))
        return obj

    def _access(self, user: User, obj: Any, namespace: str) -> authorization_v1.SubjectAccessReviewStatus:
        what, path = obj.spec.resource_attributes, obj.spec.non_resource_attributes
        if (what is None) == (path is None):
            text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise _invalid(obj, "spec.resourceAttributes", text)
        if path is not None:
            if isinstance(obj, authorization_v1.LocalSubjectAccessReview):
                raise _invalid(obj, "spec.nonResourceAttributes", "disallowed on this kind of request")
            ask = Attributes(path.verb, path=path.path)
        else:
            local = isinstance(obj, authorization_v1.LocalSubjectAccessReview)
            if local and what.namespace not in ("", namespace):
                raise _invalid(obj, "spec.resourceAttributes.namespace", f"must match metadata.namespace: {namespace}")
            selected = what.field_selector.raw_selector if what.field_selector is not None else ""
            ask = Attributes(
                what.verb,
                what.group,
                what.resource,
                what.subresource,
                namespace if local else what.namespace,
                what.name,
                field_selector=selected,
            )
        reason = self._authorizer.reason(user, ask)
        return authorization_v1.SubjectAccessReviewStatus(allowed=reason is not None, reason=reason or "")

    def _rules(self, user: User, namespace: str) -> authorization_v1.SubjectRulesReviewStatus:
        rules = self._authorizer.rules_of(user, namespace)
        return authorization_v1.SubjectRulesReviewStatus(
            resource_rules=[
                authorization_v1.ResourceRule(
                    verbs=r.verbs, api_groups=r.api_groups, resources=r.resources, resource_names=r.resource_names
                )
                for r in rules
                if r.resources
            ],
            non_resource_rules=[
                authorization_v1.NonResourceRule(verbs=r.verbs, non_resource_urls=r.non_resource_urls)
                for r in rules
                if r.non_resource_urls
            ],
            incomplete=False,
        )

    def _token(self, obj: authentication_v1.TokenReview) -> authentication_v1.TokenReviewStatus:
        if not obj.spec.token:
            raise _invalid(obj, "spec.token", "Required value")
        user = self._authenticator.user_of_token(obj.spec.token, obj.spec.audiences)
        if user is None:
            return authentication_v1.TokenReviewStatus(error="the token is not valid here")
        return authentication_v1.TokenReviewStatus(
            authenticated=True, user=_info(user), audiences=list(obj.spec.audiences)
        )


def _info(user: User) -> authentication_v1.UserInfo:
    groups = list(user.groups if AUTHENTICATED in user.groups else (*user.groups, AUTHENTICATED))
    extra = {k: list(v) for k, v in user.extra.items()}
    return authentication_v1.UserInfo(username=user.name, uid=user.uid, groups=groups, extra=extra)


def _invalid(obj: Any, path: str, message: str) -> Invalid:
    group = obj.api_version.partition("/")[0]
    return Invalid.of(obj.kind, group, obj.metadata.name, [FieldError(path, message)])
