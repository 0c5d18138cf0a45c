"""No room left: under etcd its quota (NOSPACE), or the disk itself; under SQLite the disk.

Writes are refused with a clear 503 and no answer takes long, reads and watches go on, nothing acknowledged is lost, and when
room is made everything goes on by itself. Room under etcd's alarm is made as docs/decisions/0008-blows.md says.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from kubeapi.client.interface import Client
from kubeapi.errors import ApiError, ServiceUnavailable, Timeout
from kubeapi.types import apps_v1, core_v1
from tests.blows.test_kills import no_container_twice, nodes_ready, settled
from tests.support.make import make_deployment
from tests.support.rig import Rig, Size
from tests.support.traffic import AWAY, config_map
from tests.support.until import until

pytestmark = [pytest.mark.blows, pytest.mark.timeout(120)]

PIECE = 200_000
"""Bytes of each object that fills the store."""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs; only root may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """All the room that is left."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return filler


async def write_until_refused(client: Client, name: str, most: int = 400) -> tuple[list[str], ApiError]:
    """What was acknowledged, and the refusal."""
    made: list[str] = []
    for number in range(most):
        try:
            async with asyncio.timeout(12):
                await client.create(config_map(f"{name}-{number}", "x" * PIECE))
        except ApiError as error:
            return made, error
        made.append(f"{name}-{number}")
    raise AssertionError(f"{most} objects of {PIECE} bytes, and no refusal")


async def is_refused(client: Client) -> str:
    """A small write is refused at once, in words."""
    with pytest.raises(ServiceUnavailable) as caught:
        async with asyncio.timeout(2):
            await client.create(config_map("small", "x"))
    return str(caught.value)


async def names(client: Client) -> set[str]:
    listing = await client.list(core_v1.ConfigMap, "default", label_selector="traffic=yes")
    return {o.metadata.name for o in listing.items}


async def when_back(client: Client, name: str = "back", seconds: float = 20) -> None:
    """A write succeeds again."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                await client.create(config_map(name, "x"))
                return
            except AWAY:
                await asyncio.sleep(0.1)


async def watched(client: Client, revision: int) -> AsyncGenerator[str, None]:
    async for batch in client.watch(
        core_v1.ConfigMap, "default", resource_version=revision, label_selector="traffic=yes"
    ):
        for event in batch:
            if event.type == "ADDED":
                yield event.object.metadata.name


@pytest.mark.etcd
async def test_etcd_at_its_quota(make_rig: Callable[[Size], Rig]) -> None:
    size = Size(etcds=1, apis=1, pairs=1, nodes=1, etcd_flags=["--quota-backend-bytes=20000000"])
    async with make_rig(size).running() as rig, rig.client() as client:
        await nodes_ready(client, 1)
        await client.create(make_deployment("web", replicas=2))
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 2}), seconds=30)
        start = await client.list(core_v1.ConfigMap, "default", label_selector="traffic=yes")
        seen = watched(client, start.resource_version)
        made, refusal = await write_until_refused(client, "fill")
        text = await is_refused(client)
        assert "full" in text and "NOSPACE" in text and "defrag" in text, text
        # The write that passes the quota is carried out, and etcd says that there is no room: that is the timeout.
        assert isinstance(refusal, ServiceUnavailable | Timeout), repr(refusal)
        brink = {f"fill-{len(made)}"} & await names(client)
        assert not brink or isinstance(refusal, Timeout), "told that there was no room, and it is there"
        assert await names(client) == {*made, *brink}
        made += brink
        pods = (await client.list(core_v1.Pod, "default")).items
        assert [p.status.phase for p in pods] == ["Running"] * 2
        for name in made:  # what makes room is let through
            await client.delete(core_v1.ConfigMap, name, "default")
        await is_refused(client)  # but room there is only after these
        make_room(rig.etcd_endpoints[0])
        await when_back(client)
        await client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 4}}, namespace="default")
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 4}), seconds=30)
        assert await names(client) == {"back"}
        async with asyncio.timeout(5):
            assert [await anext(seen) for _ in range(len(made) + 1)] == [*made, "back"]
        await seen.aclose()
        no_container_twice(rig)


def make_room(endpoint: str) -> None:
    """compact to the newest revision, defragment, disarm."""

    def ctl(*words: str) -> str:
        command = ["etcdctl", f"--endpoints=http://{endpoint}", *words]
        environment = {**os.environ, "ETCDCTL_API": "3"}
        return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout

    status = ctl("endpoint", "status", "--write-out=fields")
    revision = next(line.split(":")[1].strip() for line in status.splitlines() if line.startswith('"Revision"'))
    ctl("compact", revision)
    ctl("defrag")
    assert "disarm" in ctl("alarm", "disarm") or "NOSPACE" not in ctl("alarm", "list")


@pytest.mark.root
async def test_sqlite_on_a_full_disk(make_rig: Callable[[Size], Rig], small_disk: Path) -> None:
    size = Size(etcds=0, apis=1, pairs=1, nodes=1, store=f"sqlite:{small_disk / 'store.db'}")
    async with make_rig(size).running() as rig, rig.client() as client:
        await nodes_ready(client, 1)
        await client.create(make_deployment("web", replicas=2))
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 2}), seconds=30)
        filler = fill(small_disk)
        made, refusal = await write_until_refused(client, "fill")
        assert isinstance(refusal, ServiceUnavailable) and "no room" in str(refusal), repr(refusal)
        assert await names(client) == set(made)
        filler.unlink()
        await when_back(client, "same-server")
        filler = fill(small_disk)
        more, _ = await write_until_refused(client, "more")
        made = [*made, "same-server", *more]
        assert await names(client) == set(made)
        rig.apis[0].kill()  # and a server that starts on the full disk still serves
        rig.apis[0].start()
        await rig.ready(0)
        await until(client, core_v1.Pod, lambda found: len(found) == 2, seconds=10)
        assert await names(client) == set(made)
        filler.unlink()
        await when_back(client)
        await client.patch(apps_v1.Deployment, "web", {"spec": {"replicas": 4}}, namespace="default")
        await until(client, apps_v1.Deployment, lambda found: settled(found, {"web": 4}), seconds=40)
        assert await names(client) == {*made, "back"}
        no_container_twice(rig)


@pytest.mark.etcd
@pytest.mark.root
async def test_etcd_on_a_full_disk(make_rig: Callable[[Size], Rig], small_disk: Path, seed: int) -> None:
    """etcd ends itself when it cannot write its log. Until it is back the cache answers who asks for no newest state."""
    rig = make_rig(Size(etcds=1, apis=1, pairs=0, nodes=0))
    rig.folder.joinpath("etcd-1").symlink_to(small_disk)
    async with rig.running(), rig.client() as client:
        await client.create(config_map("before", "x"))
        filler = fill(small_disk)
        made, refusal = await write_until_refused(client, f"fill-{Random(seed).randrange(100)}")
        # Whether the write that hurt took place nobody can say when etcd ends in the middle of it: that is the timeout.
        assert isinstance(refusal, ServiceUnavailable | Timeout), repr(refusal)
        rig.etcds[0].kill()
        filler.unlink()
        rig.etcds[0].start()
        await when_back(client)
        assert {*made, "before", "back"} <= await names(client)
