"""The one error tree. HTTP code, gRPC code, Status body and the CLI's text come from the class alone.

    ApiError
    ├── BadRequest 400          ├── AlreadyExists 409          ├── TooManyRequests 429
    ├── Unauthorized 401        ├── Conflict 409               ├── InternalError 500
    ├── Forbidden 403           ├── Expired 410                ├── ServiceUnavailable 503
    ├── NotFound 404            ├── RequestEntityTooLarge 413  └── Timeout 504
    ├── MethodNotAllowed 405    ├── UnsupportedMediaType 415
    ├── NotAcceptable 406       └── Invalid 422

The gRPC code is kept as its name, so that nothing here imports grpc. Source of reasons and codes: Kubernetes
API conventions, "Response Status Kind".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar


class _Unset(Enum):
    UNSET = "unset"


_LABELS = {
    "FieldValueInvalid": "Invalid value",
    "FieldValueTypeInvalid": "Invalid value",
    "FieldValueRequired": "Required value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueNotFound": "Not found",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
}
_VALUELESS = {"FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "FieldValueTooMany"}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault of an object: which field, and what is allowed."""

    path: str
    message: str
    """What is allowed. Shown as it is if it begins with the reason's own words: `Required value: ...`."""
    value: Any = _Unset.UNSET
    """The faulty value, when showing it helps."""
    reason: str = "FieldValueInvalid"
    """FieldValue + Invalid, Required, NotSupported, Forbidden, Duplicate, NotFound, TypeInvalid, TooLong, ..."""

    @property
    def text(self) -> str:
        """Reason, value and message, as it is shown behind the path."""
        label = _LABELS.get(self.reason, "Invalid value")
        if self.message.startswith(label):
            return self.message
        if self.value is not _Unset.UNSET and self.reason not in _VALUELESS:
            label = f"{label}: {json.dumps(self.value, default=str)}"
        return f"{label}: {self.message}" if self.message else label

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


class ApiError(Exception):
    """A refusal that a client can understand."""

    reason: ClassVar[str] = "Unknown"
    http: ClassVar[int] = 500
    grpc: ClassVar[str] = "UNKNOWN"

    def __init__(
        self,
        message: str = "",
        *,
        details: Mapping[str, Any] | None = None,
        causes: Iterable[FieldError] = (),
        retry_after: int = 0,
    ) -> None:
        super().__init__(message or self.reason)
        self.message = message or self.reason
        self.details: dict[str, Any] = dict(details or {})
        self.causes = list(causes)
        self.retry_after = retry_after
        """Seconds; 0 when retrying at once is fine or pointless."""

    def status(self) -> dict[str, Any]:
        """The body of a metav1.Status."""
        details = dict(self.details)
        if self.causes:
            details["causes"] = [
                {"reason": cause.reason, "message": cause.text, "field": cause.path} for cause in self.causes
            ]
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.http,
        }
        if details:
            body["details"] = details
        return body


class BadRequest(ApiError):
    """The request itself cannot be understood."""

    reason, http, grpc = "BadRequest", 400, "INVALID_ARGUMENT"


class Unauthorized(ApiError):
    """Who asks is not known."""

    reason, http, grpc = "Unauthorized", 401, "UNAUTHENTICATED"


class Forbidden(ApiError):
    """Who asks may not do this."""

    reason, http, grpc = "Forbidden", 403, "PERMISSION_DENIED"


class NotFound(ApiError):
    """There is no such object, or no such resource type."""

    reason, http, grpc = "NotFound", 404, "NOT_FOUND"


class MethodNotAllowed(ApiError):
    """The resource does not have this verb."""

    reason, http, grpc = "MethodNotAllowed", 405, "UNIMPLEMENTED"


class NotAcceptable(ApiError):
    """None of the forms that the client accepts can be made."""

    reason, http, grpc = "NotAcceptable", 406, "INVALID_ARGUMENT"


class AlreadyExists(ApiError):
    """An object of this name is there."""

    reason, http, grpc = "AlreadyExists", 409, "ALREADY_EXISTS"


class Conflict(ApiError):
    """The object changed since it was read. Read it again and retry."""

    reason, http, grpc = "Conflict", 409, "ABORTED"


class Expired(ApiError):
    """The asked-for version is older than the history. List again."""

    reason, http, grpc = "Expired", 410, "OUT_OF_RANGE"


class RequestEntityTooLarge(ApiError):
    """The body is larger than the server takes."""

    reason, http, grpc = "RequestEntityTooLarge", 413, "RESOURCE_EXHAUSTED"


class UnsupportedMediaType(ApiError):
    """The body is in a form that the server does not read."""

    reason, http, grpc = "UnsupportedMediaType", 415, "INVALID_ARGUMENT"


class Invalid(ApiError):
    """The object is understood, and faulty: each cause names a field."""

    reason, http, grpc = "Invalid", 422, "FAILED_PRECONDITION"

    def __init__(
        self,
        message: str | Iterable[FieldError] = "",
        *,
        details: Mapping[str, Any] | None = None,
        causes: Iterable[FieldError] = (),
        retry_after: int = 0,
    ) -> None:
        """`Invalid(faults)` alone makes its message from the faults."""
        if not isinstance(message, str):
            causes = [*message, *causes]
            message = ", ".join(str(cause) for cause in causes)
        super().__init__(message, details=details, causes=causes, retry_after=retry_after)

    @classmethod
    def of(cls, kind: str, group: str, name: str, causes: Iterable[FieldError]) -> Invalid:
        found = list(causes)
        texts = [str(cause) for cause in found]
        text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        qualified = f"{kind}.{group}" if group else kind
        return cls(
            f'{qualified} "{name}" is invalid: {text}',
            details={"name": name, "group": group, "kind": kind},
            causes=found,
        )


class TooManyRequests(ApiError):
    """Not now; retry_after says when."""

    reason, http, grpc = "TooManyRequests", 429, "RESOURCE_EXHAUSTED"


class InternalError(ApiError):
    """A defect of the server. It was logged."""

    reason, http, grpc = "InternalError", 500, "INTERNAL"


class ServiceUnavailable(ApiError):
    """The server or its store cannot answer now. Retry."""

    reason, http, grpc = "ServiceUnavailable", 503, "UNAVAILABLE"


class Timeout(ApiError):
    """The server gave up waiting."""

    reason, http, grpc = "Timeout", 504, "DEADLINE_EXCEEDED"


_BY_REASON: dict[str, type[ApiError]] = {cls.reason: cls for cls in ApiError.__subclasses__()}
_BY_CODE: dict[int, type[ApiError]] = {cls.http: cls for cls in ApiError.__subclasses__() if cls is not AlreadyExists}


def from_status(status: Mapping[str, Any]) -> ApiError:
    """The error that a Status body tells of; by its reason, else by its code."""
    cls = _BY_REASON.get(status.get("reason", "")) or _BY_CODE.get(status.get("code", 0), ApiError)
    details = dict(status.get("details") or {})
    causes = [
        FieldError(c.get("field", ""), c.get("message", ""), reason=c.get("reason", "FieldValueInvalid"))
        for c in details.pop("causes", None) or []
    ]
    retry_after = int(details.pop("retryAfterSeconds", 0))
    return cls(status.get("message", ""), details=details, causes=causes, retry_after=retry_after)
