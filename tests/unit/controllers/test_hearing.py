"""Since when nodes can be heard, and how long pods of a silent one are left alone."""

from __future__ import annotations

import pytest

from controlplane.controllers.nodelifecycle.hearing import Hearing
from tests.support.hand_clock import HandClock

GRACE, BEAT = 40.0, 10.0


class World:
    def __init__(self) -> None:
        self.clock = HandClock(1000.0)
        self.hearing = Hearing(self.clock, GRACE)
        self.hearing.outages(0)

    def beats(self, seconds: float) -> None:
        """Some node is heard every ten seconds."""
        for _ in range(int(seconds / BEAT)):
            self.clock.at += BEAT
            self.hearing.voice()


@pytest.fixture
def world() -> World:
    return World()


def test_who_begins_is_patient_for_the_grace(world: World) -> None:
    assert (world.hearing.seconds(), world.hearing.patience()) == (0.0, GRACE)
    world.beats(GRACE)
    assert (world.hearing.seconds(), world.hearing.patience()) == (GRACE, BEAT), "the first was heard after a beat"
    world.beats(BEAT)
    assert world.hearing.patience() == 0.0


@pytest.mark.parametrize("blow", ["away", "away and back", "refused"])
def test_after_a_blow_all_begins_anew(world: World, blow: str) -> None:
    world.beats(10 * GRACE)
    match blow:
        case "away":
            world.hearing.outages(1)
        case "away and back":
            world.hearing.outages(2)
        case "refused":
            world.hearing.refused()
    assert (world.hearing.seconds(), world.hearing.patience()) == (0.0, GRACE)
    world.beats(2 * GRACE)
    assert world.hearing.patience() == 0.0


def test_a_server_that_is_still_away_is_not_listened_to(world: World) -> None:
    world.beats(10 * GRACE)
    for _ in range(10):
        world.clock.at += BEAT
        world.hearing.outages(1)
    assert world.hearing.seconds() == 0.0


def test_where_no_node_is_heard_none_loses_its_pods_though_silence_goes_on_to_count(world: World) -> None:
    world.beats(10 * GRACE)
    world.clock.at += GRACE
    assert (world.hearing.seconds(), world.hearing.patience()) == (11 * GRACE, GRACE)
    world.hearing.voice()
    assert world.hearing.patience() == GRACE, "one voice: the others may need as long"
    world.beats(GRACE / 2)
    assert world.hearing.patience() == GRACE / 2


def test_a_voice_that_is_late_once_is_no_gap(world: World) -> None:
    world.beats(10 * GRACE)
    world.clock.at += GRACE / 2
    world.hearing.voice()
    assert world.hearing.patience() == 0.0
