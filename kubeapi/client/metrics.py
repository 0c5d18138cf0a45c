"""What clients, informers and queues tell of themselves, for Prometheus. For modules of metrics: clients in a hurry import this not.

An informer is late by the time that the server had known of a change when it sent it, and the time until the cache showed
it here: both are spans of one clock each, so that clocks that differ tell no lies.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeapi.scheme import SCHEME

LAG = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LISTS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
QUEUE_BUCKETS = tuple(1e-8 * 10**i for i in range(10))
"""10 ns to 10 s, as client-go has them."""


REQUEST_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""As client-go has them."""


class _Times:
    __slots__ = ("buckets", "sum")

    def __init__(self) -> None:
        self.buckets = [0] * (len(REQUEST_BUCKETS) + 1)
        self.sum = 0.0


class RequestNumbers(Collector):
    """Implements measured.RequestMetrics, in plain numbers: thousands of requests a second are told here.

    Values of `host` are what a client was told to dial, so there are as many as a process has clients.
    """

    def __init__(self, registry: CollectorRegistry, *, client: str) -> None:
        self._client = client
        self._asked: dict[tuple[str, str, str], int] = {}
        self._times: dict[tuple[str, str], _Times] = {}
        registry.register(self)

    def asked(self, host: str, method: str, code: str, seconds: float | None, number: int = 1) -> None:
        at = code, method, host
        self._asked[at] = self._asked.get(at, 0) + number
        if seconds is not None:
            times = self._times.get((method, host))
            if times is None:
                times = self._times[method, host] = _Times()
            times.sum += seconds
            times.buckets[bisect_left(REQUEST_BUCKETS, seconds)] += 1

    def collect(self) -> Iterable[Metric]:
        total = CounterMetricFamily(
            "rest_client_requests",
            "Requests to the API server by HTTP method, code (<error>: no answer) and host that was dialled.",
            labels=["client", "code", "method", "host"],
        )
        for at, number in self._asked.items():
            total.add_metric([self._client, *at], number)
        seconds = HistogramMetricFamily(
            "rest_client_request_duration_seconds",
            "How long an answer took, watches left out; of a batch of writes once.",
            labels=["client", "verb", "host"],
        )
        bounds = [*map(str, REQUEST_BUCKETS), "+Inf"]
        for (verb, host), times in self._times.items():
            buckets = list(zip(bounds, map(float, accumulate(times.buckets)), strict=True))
            seconds.add_metric([self._client, verb, host], buckets, times.sum)
        return total, seconds


class _Reflector:
    """One resource's numbers, looked up once."""

    def __init__(self, metrics: InformerNumbers, type_: type[Any]) -> None:
        resource = SCHEME.resource_of(type_)
        by = (metrics.client, resource.group, resource.plural)
        self.lists = metrics.lists.labels(*by)
        self.relists = metrics.relists.labels(*by)
        self.list_seconds = metrics.list_seconds.labels(*by)
        self.watches = metrics.watches.labels(*by)
        self.short = metrics.short.labels(*by)
        self.failures = metrics.failures.labels(*by)
        self.stumbles = metrics.stumbles.labels(*by)
        self.events = metrics.events.labels(*by)
        self.revision = metrics.revision.labels(*by)
        self.lag = metrics.lag.labels(*by)


class InformerNumbers:
    """Implements informer.InformerMetrics."""

    def __init__(self, registry: CollectorRegistry, *, client: str) -> None:
        """`client`: whose informers these are, where one process has several clients."""
        by = ["client", "group", "resource"]
        self.registry = registry
        self.client = client
        self.requests = RequestNumbers(registry, client=client)
        self.lists = Counter("reflector_lists", "Whole lists read.", by, registry=registry)
        self.relists = Counter(
            "sampan_informer_relists",
            "Whole lists read again, because the server no longer had the history since the last event seen.",
            by,
            registry=registry,
        )
        self.list_seconds = Histogram(
            "reflector_list_duration_seconds", "How long a whole list took.", by, buckets=LISTS, registry=registry
        )
        self.watches = Counter("reflector_watches", "Watches begun.", by, registry=registry)
        self.short = Counter("reflector_short_watches", "Watches that ended within a second.", by, registry=registry)
        self.failures = Counter(
            "sampan_informer_failures", "Lists and watches that failed, and were tried again.", by, registry=registry
        )
        self.stumbles = Counter(
            "sampan_informer_handler_failures",
            "Changes that a handler of ours did not take: a defect, and an older picture until the next change.",
            by,
            registry=registry,
        )
        self.events = Counter("sampan_informer_events", "Changes taken over.", by, registry=registry)
        self.revision = Gauge(
            "reflector_last_resource_version", "Of the newest event seen, bookmarks counted.", by, registry=registry
        )
        self.lag = Histogram(
            "sampan_informer_lag_seconds",
            "From a change's coming into the server's watch cache until the informer's cache showed it.",
            by,
            buckets=LAG,
            registry=registry,
        )
        self._found: dict[type[Any], _Reflector] = {}

    def _of(self, type_: type[Any]) -> _Reflector:
        found = self._found.get(type_)
        if found is None:
            found = self._found[type_] = _Reflector(self, type_)
        return found

    def listed(self, type_: type[Any], seconds: float, revision: int, *, again: bool) -> None:
        of = self._of(type_)
        of.lists.inc()
        of.list_seconds.observe(seconds)
        of.revision.set(revision)
        if again:
            of.relists.inc()

    def watching(self, type_: type[Any]) -> None:
        self._of(type_).watches.inc()

    def watched(self, type_: type[Any], *, short: bool) -> None:
        if short:
            self._of(type_).short.inc()

    def failed(self, type_: type[Any]) -> None:
        self._of(type_).failures.inc()

    def stumbled(self, type_: type[Any]) -> None:
        self._of(type_).stumbles.inc()

    def applied(self, type_: type[Any], events: int, revision: int, lag: float) -> None:
        of = self._of(type_)
        of.revision.set(revision)
        if events:
            of.events.inc(events)
            of.lag.observe(lag)


class _Working(Collector):
    """How long queues' keys have been worked on by now: looked up at every scrape."""

    def __init__(self, queues: dict[str, Callable[[], Iterable[float]]], registry: CollectorRegistry) -> None:
        self._queues = queues
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        all_of = GaugeMetricFamily(
            "workqueue_unfinished_work_seconds", "How long all keys in work have been so, added up.", labels=["name"]
        )
        longest = GaugeMetricFamily(
            "workqueue_longest_running_processor_seconds", "How long the longest of them has.", labels=["name"]
        )
        for name, working in self._queues.items():
            seconds = list(working())
            all_of.add_metric([name], sum(seconds))
            longest.add_metric([name], max(seconds, default=0.0))
        return all_of, longest


class QueueNumbers:
    """Implements workqueue.QueueMetrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        by = ["name"]
        self._depth = Gauge("workqueue_depth", "Keys that wait for a worker.", by, registry=registry)
        self._adds = Counter("workqueue_adds", "Keys added.", by, registry=registry)
        self._retries = Counter("workqueue_retries", "Keys added again after a failure.", by, registry=registry)
        self._waited = Histogram(
            "workqueue_queue_duration_seconds",
            "From a key's coming into the queue to its being handed out.",
            by,
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self._worked = Histogram(
            "workqueue_work_duration_seconds",
            "How long a key was worked on.",
            by,
            buckets=QUEUE_BUCKETS,
            registry=registry,
        )
        self._queues: dict[str, Callable[[], Iterable[float]]] = {}
        _Working(self._queues, registry)

    def opened(self, queue: str, working: Callable[[], Iterable[float]]) -> None:
        """The newest queue of a name is the one that is told of: each term of office has new ones."""
        self._queues[queue] = working
        self._depth.labels(queue).set(0)

    def added(self, queue: str) -> None:
        self._adds.labels(queue).inc()
        self._depth.labels(queue).inc()

    def retried(self, queue: str) -> None:
        self._retries.labels(queue).inc()

    def handed_out(self, queue: str, waited: float) -> None:
        self._depth.labels(queue).dec()
        self._waited.labels(queue).observe(waited)

    def finished(self, queue: str, worked: float) -> None:
        self._worked.labels(queue).observe(worked)


WORK_BUCKETS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
RESULTS = ("success", "requeue_after", "conflict", "error")


class ControllerNumbers(InformerNumbers, QueueNumbers):
    """Implements controller.ControllerMetrics, under the names that dashboards for controller-runtime know."""

    def __init__(self, registry: CollectorRegistry, *, client: str) -> None:
        InformerNumbers.__init__(self, registry, client=client)
        QueueNumbers.__init__(self, registry)
        self._reconciled = Counter(
            "controller_runtime_reconcile",
            "Reconciliations by result: success, requeue_after, conflict or error.",
            ["controller", "result"],
            registry=self.registry,
        )
        self._errors = Counter(
            "controller_runtime_reconcile_errors",
            "Reconciliations that failed.",
            ["controller"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long a reconciliation took.",
            ["controller"],
            buckets=WORK_BUCKETS,
            registry=self.registry,
        )
        self._active = Gauge(
            "controller_runtime_active_workers", "Reconciliations under way.", ["controller"], registry=self.registry
        )
        self._workers = Gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Reconciliations that may be under way at once.",
            ["controller"],
            registry=self.registry,
        )

    def employed(self, controller: str, workers: int) -> None:
        """A controller that never fails shows its zeros: else the first failure would be no increase."""
        self._workers.labels(controller).set(workers)
        self._active.labels(controller).set(0)
        self._errors.labels(controller)
        for result in RESULTS:
            self._reconciled.labels(controller, result)

    def reconciling(self, controller: str, more: int) -> None:
        self._active.labels(controller).inc(more)

    def reconciled(self, controller: str, result: str, seconds: float) -> None:
        self._reconciled.labels(controller, result).inc()
        self._seconds.labels(controller).observe(seconds)
        if result == "error":
            self._errors.labels(controller).inc()

    def reset(self) -> None:
        """A new term of office begins with empty queues."""
        self._depth.clear()
        self._queues.clear()
