"""A process that keeps its connections and answers nothing: SIGSTOP, as a machine that swaps or a virtual one that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from tests.blows.campaign import Campaign
from tests.support.rig import Rig, Size

pytestmark = [pytest.mark.blows, pytest.mark.etcd, pytest.mark.timeout(120)]

STANDSTILL = 12.0
"""Seconds that the cluster may stand still when the member does that its API servers use: a call's deadline is ten."""


async def test_the_etcd_member_in_use_stands_still(make_rig: Callable[[Size], Rig], seed: int) -> None:
    async with make_rig(Size(etcds=3, apis=2, pairs=0, nodes=0)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=6, keys=6, pause=0.01)
        async with campaign:
            await asyncio.sleep(1.5)
            silence = await campaign.freeze(rig.etcds[0], 14.0)
        campaign.judge()
        assert silence < STANDSTILL


async def test_an_api_server_stands_still(make_rig: Callable[[Size], Rig], seed: int) -> None:
    """Who asks the other one goes on; what it was asked before may take place afterwards, once."""
    async with make_rig(Size(etcds=1, apis=2, pairs=0, nodes=0)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=6, keys=6, pause=0.01)
        async with campaign:
            await asyncio.sleep(1.5)
            await campaign.freeze(rig.apis[0], 5.0)
        campaign.judge()
