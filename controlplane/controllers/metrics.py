"""The metrics of a controller manager: its queues, reconcilers and informers.

Labels are names of queues and controllers, and results: never an object's name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from kubeapi.client.metrics import ControllerNumbers


class Metrics(ControllerNumbers):
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own unless one is given, so that one process can hold several managers."""
        super().__init__(registry or CollectorRegistry(), client="controllers")
