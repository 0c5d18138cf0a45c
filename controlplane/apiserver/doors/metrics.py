"""How many requests, how long they took: by verb, resource and code, never by name or namespace."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own, so that one process can hold many API servers."""
        self.registry = registry or CollectorRegistry()
        self._requests = Counter(
            "apiserver_request",
            "Requests by verb, resource, code and door.",
            ["verb", "group", "resource", "subresource", "code", "door"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "apiserver_request_duration_seconds",
            "Time until the reply was ready, watches and other streams left out.",
            ["verb", "group", "resource"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.streams = Gauge(
            "apiserver_longrunning_requests",
            "Watches, logs and sessions that go on now.",
            ["verb", "resource"],
            registry=self.registry,
        )
        self._counters: dict[tuple[str, ...], Counter] = {}
        self._histograms: dict[tuple[str, ...], Histogram] = {}

    def observe(
        self, verb: str, group: str, resource: str, subresource: str, code: int, seconds: float | None, door: str
    ) -> None:
        """`resource` must be one that is served: an arbitrary path would make a series of its own."""
        key = (verb, group, resource, subresource, str(code), door)
        counter = self._counters.get(key)
        if counter is None:
            counter = self._counters[key] = self._requests.labels(*key)
        counter.inc()
        if seconds is None:
            return
        where = (verb, group, resource)
        histogram = self._histograms.get(where)
        if histogram is None:
            histogram = self._histograms[where] = self._seconds.labels(*where)
        histogram.observe(seconds)

    def render(self) -> bytes:
        return generate_latest(self.registry)
