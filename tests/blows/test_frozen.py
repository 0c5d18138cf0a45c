"""A process that keeps its connections and answers nothing: SIGSTOP, as a machine that swaps or a virtual one that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest

from tests.blows.campaign import Campaign
from tests.support.rig import Rig, Size

pytestmark = [pytest.mark.blows, pytest.mark.etcd, pytest.mark.timeout(120)]

FROZEN = 9.0
STANDSTILL = 7.5
"""Seconds that the cluster may stand still when an etcd member does: the one its API servers use, or the leader. Mostly about
two. But an election takes one to two, may end in a tie and be held again, and only then is there an answer to find."""


async def test_each_etcd_member_stands_still(make_rig: Callable[[Size], Rig], seed: int) -> None:
    """One after the other: the one in use, the leader, one that is neither. The others serve meanwhile."""
    async with make_rig(Size(etcds=3, apis=2, pairs=0, nodes=0)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=6, keys=6, pause=0.01)
        async with campaign:
            await asyncio.sleep(1.0)
            silences = [await campaign.freeze(member, FROZEN) for member in rig.etcds]
        campaign.judge()
        assert max(silences) < STANDSTILL, silences


async def test_an_api_server_stands_still(make_rig: Callable[[Size], Rig], seed: int) -> None:
    """Who asks the other one goes on; what it was asked before may take place afterwards, once."""
    async with make_rig(Size(etcds=1, apis=2, pairs=0, nodes=0)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=6, keys=6, pause=0.01)
        async with campaign:
            await asyncio.sleep(1.5)
            await campaign.freeze(rig.apis[0], 5.0)
        campaign.judge()
