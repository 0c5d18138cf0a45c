"""Concurrent clients of two API servers on etcd, and of one on SQLite: every answer fits one order, every watcher saw it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from tests.blows.campaign import Campaign
from tests.support.rig import Rig, Size

pytestmark = [pytest.mark.blows, pytest.mark.timeout(90)]

STORES = {"etcd": Size(etcds=3, apis=2, pairs=0, nodes=0), "sqlite": Size(etcds=0, apis=1, pairs=0, nodes=0)}


async def enough(campaign: Campaign, writes: int = 300) -> None:
    """Until there is something to judge, however slow the machine."""
    async with asyncio.timeout(40):
        while campaign.acknowledged < writes:  # noqa: ASYNC110 - what other processes have done is not told to us
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("store", [pytest.param("etcd", marks=pytest.mark.etcd), "sqlite"])
async def test_undisturbed(store: str, make_rig: Callable[[Size], Rig], seed: int) -> None:
    async with make_rig(STORES[store]).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=10, keys=3, pause=0.0)
        async with campaign:
            await enough(campaign)
        campaign.judge()
        assert campaign.relists == 0


@pytest.mark.parametrize("store", [pytest.param("etcd", marks=pytest.mark.etcd), "sqlite"])
async def test_under_kills(store: str, make_rig: Callable[[Size], Rig], seed: int) -> None:
    """Of API servers and etcd members, about every second one. Watches go on over a server's restart without a list."""
    async with make_rig(STORES[store]).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=8, keys=6, pause=0.002)
        async with campaign:
            for _ in range(6):
                await campaign.kill(campaign.rng.choice([*rig.etcds, *rig.apis]))
            await enough(campaign)
        campaign.judge()
        assert campaign.relists == 0
