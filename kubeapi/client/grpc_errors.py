"""A failed gRPC call as our own error: by the Status in its trailing metadata, else by its gRPC code."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import grpc

from kubeapi.errors import (
    AlreadyExists,
    ApiError,
    BadRequest,
    Conflict,
    Expired,
    Forbidden,
    InternalError,
    Invalid,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    Timeout,
    TooManyRequests,
    Unauthorized,
    from_status,
)

STATUS_KEY = "sampan-status-bin"

_BY_CODE: dict[grpc.StatusCode, type[ApiError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: BadRequest,
    grpc.StatusCode.UNAUTHENTICATED: Unauthorized,
    grpc.StatusCode.PERMISSION_DENIED: Forbidden,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNIMPLEMENTED: MethodNotAllowed,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExists,
    grpc.StatusCode.ABORTED: Conflict,
    grpc.StatusCode.OUT_OF_RANGE: Expired,
    grpc.StatusCode.FAILED_PRECONDITION: Invalid,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TooManyRequests,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.CANCELLED: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: Timeout,
}


def from_rpc_error(error: grpc.aio.AioRpcError) -> ApiError:
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == STATUS_KEY:
            with contextlib.suppress(ValueError):
                return from_status(json.loads(value))
    return _BY_CODE.get(error.code(), InternalError)(error.details() or error.code().name)


def answered(error: ApiError) -> bool:
    """Whether the server said it; not, where the call never came to it, or the answer never back."""
    cause = error.__cause__
    if not isinstance(cause, grpc.aio.AioRpcError):
        return True
    trailing: Any = cause.trailing_metadata() or ()
    return any(key == STATUS_KEY for key, _ in trailing)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
