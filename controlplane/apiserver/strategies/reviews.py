"""Reviews: created, answered, never stored."""

from __future__ import annotations

from typing import Any

from controlplane.apiserver.strategy import Strategy
from kubeapi.meta import replace
from kubeapi.types import authorization_v1


class ReviewStrategy(Strategy):
    """Answers who may do what. The doors let only those ask who may; all who come this far are administrators' kin."""

    create_only = True

    def prepare_create(self, obj: Any) -> Any:
        if isinstance(
            obj,
            authorization_v1.SelfSubjectAccessReview
            | authorization_v1.SubjectAccessReview
            | authorization_v1.LocalSubjectAccessReview,
        ):
            return replace(obj, status=authorization_v1.SubjectAccessReviewStatus(allowed=True))
        if isinstance(obj, authorization_v1.SelfSubjectRulesReview):
            everything = authorization_v1.ResourceRule(verbs=["*"], api_groups=["*"], resources=["*"])
            return replace(obj, status=authorization_v1.SubjectRulesReviewStatus(resource_rules=[everything]))
        return obj
