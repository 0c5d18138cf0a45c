"""The API server's metrics: how many requests, how long they took, what goes on now.

Labels are verbs, resources and codes, never names or namespaces. Names and labels are Kubernetes', so that dashboards
for kube-apiserver show something; `door` (http or grpc) is ours.

What is counted once per request is counted here in plain numbers, in the one thread that serves: that is a fifth of what
prometheus_client's own counters take, with their locks. All else is looked up when somebody scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from itertools import accumulate

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from controlplane.apiserver.doors.http_messages import Outlet, Reply
from kubeapi.metrics import about_process
from kubeapi.scheme import SCHEME

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
CERTIFICATES = tuple(
    float(seconds) for seconds in (0, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 345600, 604800, 2592000, 7776000,
                                   15552000, 31104000)
)  # fmt: skip
READS = ("GET", "HEAD")
_VERBS = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
_CONNECTS = ("exec", "attach", "portforward", "proxy")
SUBRESOURCES = frozenset(
    (
        "",
        "status",
        "scale",
        "log",
        *_CONNECTS,
        "binding",
        "eviction",
        "token",
        "finalize",
        "ephemeralcontainers",
        "approval",
    )
)
_WHERE = ("verb", "group", "version", "resource", "subresource", "scope")
Where = tuple[str, str, str, str, str, str]
"""Verb (as authorization knows it), group, version, resource, subresource, and scope: resource, namespace or cluster."""
NOWHERE = ("", "", "", "", "")


class _Times:
    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0


class _Counted:
    __slots__ = ("count", "times")

    def __init__(self, times: _Times) -> None:
        self.count = 0
        self.times = times


class Metrics(Collector):
    inflight: list[int]
    """Requests under way: those that read, those that write. Whoever handles one counts up and down here."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own, so that one process can hold many API servers."""
        self.registry = registry or CollectorRegistry()
        self.inflight = [0, 0]
        self._before: list[Callable[[], Awaitable[None]]] = []
        self._shown, self._shown_sum = [0] * (len(CERTIFICATES) + 1), 0.0
        self._counted: dict[tuple[Where, int, str, str], _Counted] = {}
        self._times: dict[Where, _Times] = {}
        self._lasting = Gauge(
            "apiserver_longrunning_requests",
            "Watches, followed logs and sessions (exec, attach, port-forward, proxy) that go on now.",
            [*_WHERE, "component"],
            registry=self.registry,
        )
        self.registry.register(self)
        about_process(self.registry)

    def observe(self, where: Where, code: int, seconds: float | None, door: str, dry_run: str = "") -> None:
        """`seconds` None: a stream. `dry_run`: All, for what was to keep nothing, or invalid."""
        counted = self._counted.get((where, code, door, dry_run))
        if counted is None:
            where = served(where)
            fresh = _Counted(self._times.setdefault(where, _Times()))
            counted = self._counted.setdefault((where, code, door, dry_run), fresh)
        counted.count += 1
        if seconds is not None:
            times = counted.times
            times.sum += seconds
            times.buckets[bisect_left(BUCKETS, seconds)] += 1

    def certificate_shown(self, left: float) -> None:
        """By a client, for a connection over HTTP or a call over gRPC: seconds until it ends."""
        self._shown_sum += left
        self._shown[bisect_left(CERTIFICATES, left)] += 1

    @contextmanager
    def lasting(self, where: Where) -> Iterator[None]:
        with self._lasting.labels(*labels(served(where)), "apiserver").track_inprogress():
            yield

    def follow(self, reply: Reply, where: Where) -> None:
        """A stream over HTTP counts as under way while its connection writes it."""
        push, body, takeover = reply.push, reply.body, reply.takeover
        if push is not None:

            async def pushing(out: Outlet) -> None:
                with self.lasting(where):
                    await push(out)

            reply.push = pushing
        elif takeover is not None:

            async def taking_over(duplex: object) -> None:
                with self.lasting(where):
                    await takeover(duplex)  # type: ignore[arg-type]

            reply.takeover = taking_over
        elif not isinstance(body, bytes):

            async def pieces() -> AsyncGenerator[bytes, None]:
                async with aclosing(body):
                    with self.lasting(where):
                        async for piece in body:
                            yield piece

            reply.body = pieces()

    def collect(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "apiserver_request",
            "Requests by verb, resource, code and door (http, grpc); dry_run is All for what was to keep nothing.",
            labels=[*_WHERE, "component", "code", "door", "dry_run"],
        )
        for (where, code, door, dry_run), counted in self._counted.items():
            requests.add_metric([*labels(where), "apiserver", str(code), door, dry_run], counted.count)
        seconds = HistogramMetricFamily(
            "apiserver_request_duration_seconds",
            "Time until the reply was ready, watches and other streams left out.",
            labels=[*_WHERE, "component"],
        )
        for where, times in self._times.items():
            if any(times.buckets):
                seconds.add_metric([*labels(where), "apiserver"], buckets_of(BUCKETS, times.buckets), times.sum)
        inflight = GaugeMetricFamily(
            "apiserver_current_inflight_requests",
            "Requests under way, long-running ones left out: readOnly or mutating.",
            labels=["request_kind"],
        )
        for kind, number in zip(("readOnly", "mutating"), self.inflight, strict=True):
            inflight.add_metric([kind], number)
        shown = HistogramMetricFamily(
            "apiserver_client_certificate_expiration_seconds",
            "What clients' certificates have left, each time that one is shown: per connection, over gRPC per call.",
            buckets=buckets_of(CERTIFICATES, self._shown),
            sum_value=self._shown_sum,
        )
        return requests, seconds, inflight, shown

    def before_scrape(self, ask: Callable[[], Awaitable[None]]) -> None:
        """`ask` is awaited before each: for what is not known without waiting. It must end soon, and not fail."""
        self._before.append(ask)

    async def render(self) -> bytes:
        for ask in self._before:
            await ask()
        return generate_latest(self.registry)


def buckets_of(bounds: Sequence[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Cumulated, as they are told."""
    names = [*map(str, bounds), "+Inf"]
    return [(name, float(count)) for name, count in zip(names, accumulate(counts), strict=True)]


def labels(where: Where) -> list[str]:
    """Verbs under the names of Kubernetes' metrics."""
    verb, *rest = where
    subresource = where[4]
    return ["CONNECT" if subresource in _CONNECTS else _VERBS.get(verb, verb.upper()), *rest]


def served(where: Where) -> Where:
    """What names nothing that is served counts as nowhere: else every odd path would make series of its own."""
    verb, group, version, resource, subresource, _ = where
    if not resource or (subresource in SUBRESOURCES and SCHEME.by_plural(group, version, resource) is not None):
        return where
    return (verb, *NOWHERE)


def scope_of(name: str, namespace: str, verb: str) -> str:
    return "resource" if name or verb == "create" else "namespace" if namespace else "cluster"
