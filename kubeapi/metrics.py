"""What every component tells of itself: its build, its process, its certificates. Under Kubernetes' names where it has them.

For composition roots and modules of metrics alone: whoever wants to start fast does not import this.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kubeapi.version import GIT_VERSION, MAJOR, MINOR, release

log = logging.getLogger(__name__)
EXPIRY = "sampan_certificate_expiration_timestamp_seconds"


class _Build(Collector):
    def collect(self) -> Iterable[Metric]:
        names = ["major", "minor", "git_version", "sampan_version", "platform", "python_version"]
        built = GaugeMetricFamily("kubernetes_build_info", "What API version this serves or speaks.", labels=names)
        where = f"{platform.system().lower()}/{platform.machine()}"
        built.add_metric([MAJOR, MINOR, GIT_VERSION, release(), where, platform.python_version()], 1)
        return (built,)


def about_process(registry: CollectorRegistry) -> None:
    """process_*, python_* and the build. Once per registry."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each counter: noise
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Build())


class Certificates(Collector):
    """Of the certificates that a component shows or trusts: when they end."""

    def __init__(
        self, registry: CollectorRegistry, *, ttl: str = "", now: Callable[[], datetime] | None = None
    ) -> None:
        """`ttl`, with `now`: a second metric, of this name, with the seconds that the certificate `client` has left."""
        self._shown: dict[str, bytes] = {}
        self._ends: dict[str, datetime] = {}
        self._ttl, self._now = ttl, now
        registry.register(self)

    def show(self, certificate: str, pem: bytes | None) -> None:
        """`certificate`: what it is for (server, client, ca). Of several in one PEM the first to end counts."""
        if pem:
            self._shown[certificate] = pem
            self._ends.pop(certificate, None)

    def _read(self) -> dict[str, datetime]:
        for certificate in self._shown.keys() - self._ends.keys():
            from cryptography import x509  # 6 MiB, which a component that nobody scrapes need not have

            try:
                found = x509.load_pem_x509_certificates(self._shown[certificate])
            except ValueError as error:  # a page of metrics must not end with it
                log.warning("the %s certificate cannot be read, so nothing tells when it ends: %s", certificate, error)
                del self._shown[certificate]
                continue
            self._ends[certificate] = min(one.not_valid_after_utc for one in found)
        return {certificate: self._ends[certificate] for certificate in self._shown}

    def collect(self) -> Iterable[Metric]:
        known = self._read()
        ends = GaugeMetricFamily(EXPIRY, "When a certificate of this component ends.", labels=["certificate"])
        for certificate, end in known.items():
            ends.add_metric([certificate], end.timestamp())
        yield ends
        if self._ttl and self._now is not None:
            left = GaugeMetricFamily(self._ttl, "Seconds until the client's certificate ends.")
            if "client" in known:
                left.add_metric([], (known["client"] - self._now()).total_seconds())
            yield left
