"""What stands around every gRPC call: who asks, whether they may, errors as codes, and what is measured.

Who asks is in the client's certificate (mutual TLS; the listener lets nobody in without) or in a bearer token.
An error ends the call with the code of its class, and travels whole in the trailing metadata.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from functools import lru_cache
from random import Random
from typing import Any

import grpc
import grpc.aio
import msgspec
from cryptography import x509
from cryptography.x509.oid import NameOID

from controlplane.apiserver.auth.authn import User
from controlplane.apiserver.auth.authz import Attributes
from controlplane.apiserver.auth.impersonation import wished
from controlplane.apiserver.doors.access import SLOW, Access, Ended, subject_of
from controlplane.apiserver.doors.calls import Calls, find
from controlplane.apiserver.doors.metrics import NOWHERE, Metrics, Where, scope_of
from controlplane.apiserver.streaming.sessions import Sessions
from kubeapi.clock import Clock
from kubeapi.errors import ApiError, InternalError
from kubeapi.logs import Subject
from kubeapi.pb.sampan.v1 import api_pb2 as pb
from kubeapi.pb.sampan.v1 import api_pb2_grpc
from kubeapi.request_id import METADATA
from kubeapi.scheme import Resource

log = logging.getLogger("sampan.grpc")
_WITH_OPTIONS = (pb.CreateRequest, pb.UpdateRequest, pb.PatchRequest)
STATUS_KEY = "sampan-status-bin"


class Around(api_pb2_grpc.ApiServerServicer):  # type: ignore[misc]
    def __init__(
        self,
        calls: Calls,
        *,
        sessions: Sessions | None,
        metrics: Metrics,
        clock: Clock,
        insecure_user: User | None = None,
        access: Access | None = None,
    ) -> None:
        self._calls = calls
        self._sessions = sessions
        self._metrics = metrics
        self._clock = clock
        self._access = access or Access(clock=clock, rng=Random(0))
        self._insecure_user = insecure_user
        """Who everybody is on a listener without TLS: for tests."""

    def _allowed(self, user: User, verb: str, request: Any) -> Resource:
        type_ = request.type
        resource = find(type_.group, type_.version, type_.resource, type_.kind)
        ask = Attributes(
            verb,
            resource.group,
            resource.plural,
            getattr(request, "subresource", ""),
            request.namespace,
            getattr(request, "name", ""),
            field_selector=getattr(request, "field_selector", ""),
        )
        self._calls.allow(user, ask)
        return resource

    def _begin(self, call: Any) -> tuple[str, Mapping[str, str]]:
        """The request's id, which goes back with the reply, and the caller's metadata."""
        headers = dict(call.invocation_metadata() or ())
        given = self._access.begin(str(headers.get(METADATA, "")))
        call.set_trailing_metadata(((METADATA, given),))
        return given, headers

    def _user(self, call: Any, headers: Mapping[str, str]) -> User:
        authorization = headers.get("authorization", "")
        subject, ends = _shown(call)
        if ends:
            self._metrics.certificate_shown(ends - self._clock.now().timestamp())
        subject = subject or self._insecure_user
        user = self._calls.authenticator.user_of(subject=subject, authorization=str(authorization))
        if wished(headers):
            user = self._calls.impersonated(user, ((n, str(v)) for n, v in call.invocation_metadata()))
        return user

    async def _unary(self, verb: str, request: Any, call: Any, run: Callable[[User], Awaitable[Any]]) -> Any:
        begun = authorized = self._clock.monotonic()
        code, user = 200, None
        given, headers = self._begin(call)
        inflight, writes = self._metrics.inflight, verb not in ("get", "list")
        inflight[writes] += 1
        try:
            user = self._user(call, headers)
            authorized = self._clock.monotonic()
            return await run(user)
        except ApiError as error:
            code = error.http
            await _abort(call, error, given)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            code = 500
            log.exception("a defect in %s", verb)
            await _abort(call, InternalError("an error on the server has prevented the request from succeeding"), given)
        finally:
            inflight[writes] -= 1
            seconds = self._clock.monotonic() - begun
            dry_run = "All" if writes and _keeps_nothing(request) else ""
            self._metrics.observe(_where(verb, request), code, seconds, "grpc", dry_run)
            if code >= 500 or seconds > SLOW or (writes and self._access.writes):
                stages = (("auth", authorized - begun), ("handle", begun + seconds - authorized))
                self._tell(verb, request, code, user, seconds, stages)

    async def _streamed(
        self, verb: str, request: Any, call: Any, run: Callable[[User], AsyncIterator[Any]]
    ) -> AsyncIterator[Any]:
        begun = self._clock.monotonic()
        code, user = 200, None
        given, headers = self._begin(call)
        try:
            user = self._user(call, headers)
            async with aclosing(run(user)) as replies:  # type: ignore[type-var]
                with self._metrics.lasting(_where(verb, request)):
                    async for reply in replies:
                        yield reply
        except ApiError as error:
            code = error.http
            await _abort(call, error, given)
        except Exception as error:
            if isinstance(error, grpc.aio.AbortError):
                raise
            code = 500
            log.exception("a defect in %s", verb)
            await _abort(call, InternalError("an error on the server has prevented the request from succeeding"), given)
        finally:
            self._metrics.observe(_where(verb, request), code, None, "grpc")
            if code >= 500:
                self._tell(verb, request, code, user, self._clock.monotonic() - begun)

    def _session_begins(self, user: User, subresource: str, namespace: str, pod: str) -> None:
        subject = Subject("Pod", namespace, pod)
        self._access.tell(Ended(f"gRPC {subresource} pods/{namespace}/{pod}", 200, 0.0, user=user, subject=subject))

    def _tell(
        self,
        verb: str,
        request: Any,
        code: int,
        user: User | None,
        seconds: float,
        stages: tuple[tuple[str, float], ...] = (),
    ) -> None:
        _, group, version, plural, subresource, _ = _where(verb, request)
        namespace, name = getattr(request, "namespace", ""), getattr(request, "name", "")
        subject = subject_of(group, version, plural, namespace, name)
        what = f"gRPC {verb} {'/'.join(part for part in (plural, namespace, name, subresource) if part)}"
        self._access.tell(Ended(what, code, seconds, user=user, subject=subject, stages=stages))


def _where(verb: str, request: Any) -> Where:
    """`request`: a message with a type, or the name of a subresource of pods, or nothing."""
    if isinstance(request, str):
        return (verb, "", "v1", "pods", request, "resource")
    type_ = getattr(request, "type", None)
    if type_ is None:
        return (verb, *NOWHERE)
    name, subresource = getattr(request, "name", ""), getattr(request, "subresource", "")
    return (verb, type_.group, type_.version, type_.resource, subresource, scope_of(name, request.namespace, verb))


def _keeps_nothing(request: Any) -> bool:
    """A delete says it itself, the other writes in their options. Asked by type: a missing field costs microseconds."""
    if isinstance(request, pb.DeleteRequest):
        return bool(request.dry_run)
    return isinstance(request, _WITH_OPTIONS) and bool(request.options.dry_run)


async def _abort(call: Any, error: ApiError, given: str) -> None:
    trailer = ((STATUS_KEY, msgspec.json.encode(error.status())), (METADATA, given))
    await call.abort(grpc.StatusCode[error.grpc], error.message[:1000], trailer)


def _shown(call: Any) -> tuple[User | None, float]:
    pem = call.auth_context().get("x509_pem_cert")
    return _read(pem[0]) if pem else (None, 0.0)


@lru_cache(maxsize=1024)
def _read(pem: bytes) -> tuple[User | None, float]:
    """Whose certificate it is, and when it ends. All calls of a channel show the same one: it is read once."""
    with suppress(ValueError):
        found = x509.load_pem_x509_certificate(pem)
        names = [str(a.value) for a in found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
        groups = tuple(str(a.value) for a in found.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
        return User(names[-1], groups) if names else None, found.not_valid_after_utc.timestamp()
    return None, 0.0
