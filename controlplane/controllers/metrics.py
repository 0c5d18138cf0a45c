"""The metrics of a controller manager: its queues, reconcilers and informers, and the nodes that it watches over.

Labels are names of queues, controllers and zones, and results: never an object's name.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from controlplane.controllers.nodelifecycle.metrics import ZoneNumbers
from kubeapi.client.metrics import ControllerNumbers


class Metrics(ControllerNumbers):
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """A registry of its own unless one is given, so that one process can hold several managers."""
        super().__init__(registry or CollectorRegistry(), client="controllers")
        self.zones = ZoneNumbers(self.registry)
