"""Disruption budgets on the real API core, with nodes that only pretend: in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubeapi.client.interface import Client
from kubeapi.types import apps_v1, core_v1, meta_v1, policy_v1
from tests.component.workloads_world import LABELS, controllers, meta, nodes, template
from tests.support.until import until

pytestmark = [pytest.mark.looptime]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with controllers() as made:
        yield made


async def test_a_budget_follows_its_pods(client: Client) -> None:
    async with nodes(client, "a") as kubelet:
        spec = policy_v1.PodDisruptionBudgetSpec(max_unavailable=1, selector=meta_v1.LabelSelector(match_labels=LABELS))
        await client.create(policy_v1.PodDisruptionBudget(metadata=meta("b"), spec=spec))
        await client.create(
            apps_v1.Deployment(
                metadata=meta("web"),
                spec=apps_v1.DeploymentSpec(
                    replicas=3, selector=meta_v1.LabelSelector(match_labels=LABELS), template=template()
                ),
            )
        )

        def shows(allowed: int, healthy: int) -> Any:
            return lambda b: (b[0].status.disruptions_allowed, b[0].status.current_healthy) == (allowed, healthy)

        await until(client, policy_v1.PodDisruptionBudget, shows(1, 3))
        await client.delete(core_v1.Pod, kubelet.ready[0], "default")
        await until(client, policy_v1.PodDisruptionBudget, shows(0, 2))
        await until(client, policy_v1.PodDisruptionBudget, shows(1, 3))
