"""Numbers that several parts make together: from a pod's readiness to the rules of a node that is to know of it."""

from __future__ import annotations

import asyncio

import pytest

from kubeapi.types import core_v1
from tests.component.test_events import cluster, meta, pod

pytestmark = [pytest.mark.looptime]
NAME = "kubeproxy_network_programming_duration_seconds"


async def test_every_node_tells_how_long_a_change_took_to_become_rules() -> None:
    async with cluster() as c:
        await c.node("n1")
        await c.node("n2")
        port = core_v1.ServicePort(port=80, target_port=8080)
        spec = core_v1.ServiceSpec(selector={"app": "web"}, ports=[port])
        await c.client.create(core_v1.Service(metadata=meta("web"), spec=spec))
        await asyncio.sleep(3)
        await c.client.create(pod("web", "web:1"))
        await asyncio.sleep(10)
        await c.client.delete(core_v1.Pod, "web", "default")
        await asyncio.sleep(40)
        for agent, _ in c.agents.values():
            assert agent.parts is not None
            registry = agent.parts.metrics.registry
            count, total = (registry.get_sample_value(f"{NAME}_{part}") or 0.0 for part in ("count", "sum"))
            assert count >= 2, "the pod's coming and its going"
            assert 0 < total / count < 1, "changes are gathered for 50 ms; no second is lost to times in whole seconds"
