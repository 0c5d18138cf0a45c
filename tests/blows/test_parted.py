"""An etcd member is parted from its peers, or from one of them, and clients still reach it: it answers, takes calls, and
may know nothing new.

What must not be: old news for true, a watch that stands still in silence, or a standstill of more than seconds.
"""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, pairwise
from random import Random

import pytest

from controlplane.storage.errors import StoreError
from controlplane.storage.etcd import EtcdStore
from kubeapi.client.interface import Client
from kubeapi.types.core_v1 import ConfigMap
from kubeapi.types.meta_v1 import ObjectMeta
from tests.blows.campaign import Campaign
from tests.blows.test_frozen import STANDSTILL
from tests.support.parted import Places
from tests.support.rig import Rig, Size
from tests.support.traffic import AWAY, NAMESPACE

pytestmark = [pytest.mark.blows, pytest.mark.etcd, pytest.mark.netns, pytest.mark.timeout(120)]

MEMBERS, SERVERS = 3, 2
PARTED = 9.0
"""Seconds: elections, and everybody's patience, are long over."""
PULSE = 0.05


@pytest.fixture
def places() -> Iterator[Places]:
    made = Places(MEMBERS)
    try:
        made.make()
        yield made
    finally:
        made.remove()


async def leader_of(endpoints: Sequence[str]) -> int:
    """Which member says that it leads."""

    def leads(endpoint: str) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"http://{endpoint}/metrics", timeout=2) as page:
            return b"etcd_server_is_leader 1" in page.read()
        return False

    async with asyncio.timeout(20):
        while not (found := [i for i, e in enumerate(endpoints) if await asyncio.to_thread(leads, e)]):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.1)
    return found[0]


@dataclass
class Pulse:
    """One API server's life: when it acknowledged a write, and when its own watch showed the writes of all."""

    name: str
    client: Client
    written: dict[int, float] = field(default_factory=dict)
    """By revision, when it was acknowledged."""
    seen: dict[int, float] = field(default_factory=dict)
    """By revision, when this server's watch showed it."""

    async def write(self) -> None:
        """Until cancelled."""
        meta = ObjectMeta(name=self.name, namespace=NAMESPACE, labels={"pulse": "yes"})
        await self.client.create(ConfigMap(metadata=meta))
        number = 0
        while True:
            number += 1
            with suppress(*AWAY):
                made = await self.client.patch(ConfigMap, self.name, {"data": {"n": str(number)}}, namespace=NAMESPACE)
                self.written[int(made.metadata.resource_version)] = time.monotonic()
            await asyncio.sleep(PULSE)

    async def watch(self) -> None:
        """Until cancelled. Always this server's; a watch that ends goes on where it was."""
        at = (await self.client.list(ConfigMap, NAMESPACE, label_selector="pulse=yes")).resource_version
        while True:
            with suppress(*AWAY):
                async for batch in self.client.watch(
                    ConfigMap, NAMESPACE, resource_version=at, label_selector="pulse=yes"
                ):
                    now = time.monotonic()
                    for event in batch:
                        at = event.resource_version
                        if event.type != "BOOKMARK":
                            assert at not in self.seen, f"{self.name} saw r{at} twice"
                            self.seen[at] = now
            await asyncio.sleep(PULSE)

    def silence(self, begun: float) -> float:
        """The longest time, since then, without a write acknowledged."""
        edges = [begun, *(at for at in self.written.values() if at > begun), time.monotonic()]
        return max(after - before for before, after in pairwise(edges))

    def lateness(self, begun: float, others: Sequence[Pulse]) -> float:
        """How late, at most, this server's watch showed what anybody was told to be written since then."""
        written = {r: at for other in others for r, at in other.written.items() if at > begun}
        return max(self.seen.get(r, time.monotonic()) - at for r, at in written.items())


@asynccontextmanager
async def pulses(clients: Sequence[Client]) -> AsyncIterator[list[Pulse]]:
    made = [Pulse(f"pulse-{i}", client) for i, client in enumerate(clients)]
    async with asyncio.TaskGroup() as tasks:
        beating = [tasks.create_task(work()) for one in made for work in (one.watch, one.write)]
        yield made
        for task in beating:
            task.cancel()


@dataclass(frozen=True, slots=True)
class Parting:
    victim: int
    """The member whose return is waited for."""
    what: str
    begin: Callable[[], None]
    end: Callable[[], None]


Partings = Iterable[Callable[[int], Parting]]
"""One after the other; each is told which member leads when its turn comes."""


async def take_blows(make_rig: Callable[[Size], Rig], places: Places, seed: int, partings: Partings) -> None:
    """Under traffic. The servers begin with different members."""
    async with make_rig(Size(etcds=MEMBERS, apis=SERVERS, pairs=0, nodes=0, places=places.all)).running() as rig:
        campaign = Campaign(rig, Random(seed), writers=6, watchers=4, keys=6, pause=0.01)
        worst = []
        async with campaign, pulses(campaign.clients) as beating:
            await asyncio.sleep(1.0)
            for parting_of in partings:
                parting = parting_of(await leader_of(rig.etcd_endpoints))
                begun = time.monotonic()
                victim = rig.etcds[parting.victim]
                await campaign.interrupt(victim, parting.what, parting.begin, parting.end, PARTED)
                worst += judged(campaign, beating, begun)
                await asyncio.sleep(1.0)
        campaign.judge()
        assert campaign.relists == 0
        assert max(worst) < STANDSTILL, worst


async def test_each_etcd_member_is_parted_from_its_peers(
    make_rig: Callable[[Size], Rig], places: Places, seed: int
) -> None:
    """One after the other, so the leader too, and each that an API server uses."""

    def parting(i: int, leader: int) -> Parting:
        what = f"part etcd-{i + 1} from its peers{', which leads' if leader == i else ''}"
        return Parting(i, what, partial(places.part, i), partial(places.mend, i))

    await take_blows(make_rig, places, seed, [partial(parting, i) for i in range(MEMBERS)])


async def test_two_etcd_members_are_parted_from_each_other_and_both_reach_the_third(
    make_rig: Callable[[Size], Rig], places: Places, seed: int
) -> None:
    """A follower that its leader cannot reach gets no other: the third hears the leader well, and votes for nobody."""

    def parting(i: int, j: int, leader: int) -> Parting:
        which = "leader and follower" if leader in (i, j) else "two followers"
        what = f"part etcd-{i + 1} and etcd-{j + 1} from each other, {which}"
        victim = j if leader == i else i
        return Parting(victim, what, partial(places.part_two, i, j), partial(places.mend_two, i, j))

    pairs = combinations(range(MEMBERS), 2)
    await take_blows(make_rig, places, seed, [partial(parting, i, j) for i, j in pairs])


def judged(campaign: Campaign, beating: Sequence[Pulse], begun: float) -> list[float]:
    """How long each API server was silent since then, and how late its watches were: seconds."""
    silent = [one.silence(begun) for one in beating]
    late = [one.lateness(begun, beating) for one in beating]
    campaign.note(f"by API server: silent for {told(silent)}, watches late by {told(late)}")
    return [*silent, *late]


def told(seconds: Sequence[float]) -> str:
    return ", ".join(f"{s:.2f} s" for s in seconds)


@dataclass
class Line:
    """Numbers written one after the other, and when each was acknowledged and seen."""

    acknowledged: dict[str, float] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)
    count: int = 0

    async def write(self, store: EtcdStore) -> None:
        while True:
            self.count += 1
            key = f"/n{self.count:05}"
            with suppress(StoreError):
                await store.create(key, b"x")
                self.acknowledged[key] = time.monotonic()
            await asyncio.sleep(PULSE)

    async def watch(self, store: EtcdStore, after: int) -> None:
        async with aclosing(store.watch("/n", after=after)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                for change in batch:
                    assert change.key not in self.seen, f"{change.key} was shown twice"
                    self.seen[change.key] = time.monotonic()


@pytest.mark.parametrize("victim", ["leader", "follower"])
async def test_a_watch_alone_moves_to_a_member_that_is_not_parted(
    victim: str, make_rig: Callable[[Size], Rig], places: Places
) -> None:
    """Nothing else is asked of its member, so only etcd itself can tell that it has no leader."""
    async with make_rig(Size(etcds=MEMBERS, apis=0, pairs=0, nodes=0, places=places.all)).running() as rig:
        leader = await leader_of(rig.etcd_endpoints)
        parted = leader if victim == "leader" else (leader + 1) % MEMBERS
        around = [*rig.etcd_endpoints[parted:], *rig.etcd_endpoints[:parted]]
        watching, writing = EtcdStore(around, compact_every=0), EtcdStore(around[1:], compact_every=0)
        line = Line()
        try:
            start = await watching.revision()
            async with asyncio.TaskGroup() as tasks:
                work = [tasks.create_task(line.watch(watching, start)), tasks.create_task(line.write(writing))]
                await asyncio.sleep(1.0)
                begun, before = time.monotonic(), set(line.acknowledged)
                assert before
                places.part(parted)
                await asyncio.sleep(PARTED)
                missing = [k for k, at in line.acknowledged.items() if k not in line.seen and at < time.monotonic() - 1]
                late = max(line.seen.get(k, time.monotonic()) - at for k, at in line.acknowledged.items())
                newest = max(line.acknowledged)
                assert await watching.get(newest) is not None, "old news"
                places.mend(parted)
                await asyncio.sleep(1.0)
                work[1].cancel()
                await asyncio.wait(work[1:])
                last = max(line.acknowledged)
                async with asyncio.timeout(STANDSTILL):
                    while last not in line.seen:  # noqa: ASYNC110 - the watch notes it
                        await asyncio.sleep(PULSE)
                work[0].cancel()
        finally:
            await asyncio.gather(watching.close(), writing.close())
        print(f"the {victim} parted: {len(line.acknowledged)} writes, the watch was late by {late:.2f} s at most")
        assert len([at for at in line.acknowledged.values() if at > begun]) > 20
        assert not missing, f"after {PARTED} s the watch still stands still"
        assert set(line.acknowledged) <= set(line.seen)
        assert late < STANDSTILL
