"""To which resource a write goes: that of its type, or the parent's when it goes to a parent's subresource."""

from __future__ import annotations

from typing import Any

from kubeapi.errors import BadRequest
from kubeapi.scheme import SCHEME, Resource

_PARENTS = {"binding": "pods", "eviction": "pods", "token": "serviceaccounts"}
"""Subresources whose body is of another kind than the object they belong to."""


def resource_for(type_or_object: Any, subresource: str = "") -> Resource:
    """Raises BadRequest for a type that the API does not serve."""
    parent = _PARENTS.get(subresource)
    found = SCHEME.by_plural("", "v1", parent) if parent else None
    if found is not None:
        return found
    try:
        return SCHEME.resource_of(type_or_object)
    except KeyError:
        raise BadRequest(f"{type_or_object!r} is not a kind of the API") from None
