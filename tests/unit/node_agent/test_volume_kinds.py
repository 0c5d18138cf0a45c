"""Every kind of volume: what is made of it on disk, what is refused and in which words, when a token is renewed."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubeapi.clock import LoopClock
from kubeapi.types.core_v1 import (
    ConfigMap,
    ConfigMapProjection,
    ConfigMapVolumeSource,
    CSIVolumeSource,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    HostPathVolumeSource,
    KeyToPath,
    NFSVolumeSource,
    ObjectFieldSelector,
    Pod,
    PodCertificateProjection,
    PodSecurityContext,
    ProjectedVolumeSource,
    Secret,
    SecretProjection,
    SecretVolumeSource,
    SecurityContext,
    ServiceAccountTokenProjection,
    Volume,
    VolumeDevice,
    VolumeMount,
    VolumeProjection,
)
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.references import MissingReference, References
from node_agent.volumes import Place, Volumes, common_user, mounts_of
from tests.unit.node_agent.memory_client import MemoryClient
from tests.unit.node_agent.pods import pod, wish

pytestmark = pytest.mark.looptime


class World:
    def __init__(self, root: Path) -> None:
        self.client = MemoryClient()
        clock = LoopClock(datetime(2026, 1, 1, tzinfo=UTC))
        references = References(self.client, clock=clock, fresh_for=0)
        self.volumes = Volumes(
            root=root, references=references, client=self.client, allocatable={"memory": 1 << 30},
            host_ip="192.0.2.1", clock=clock,
        )  # fmt: skip

    async def config_map(self, **data: str) -> None:
        await self.client.create(ConfigMap(metadata=ObjectMeta(name="conf", namespace="default"), data=data))

    async def place(self, thing: Pod) -> Place:
        (place,) = (await self.volumes.prepare(thing, pod_ip="10.244.0.2")).values()
        return place


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def with_volume(*, group: int | None = None, user: int | None = None, **source: object) -> Pod:
    security = PodSecurityContext(fs_group=group, run_as_user=user)
    return pod(volumes=[Volume(name="v", **source)], security_context=security)  # type: ignore[arg-type]


def mounted(path: Path) -> bool:
    return f" {path} tmpfs " in Path("/proc/mounts").read_text()


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


async def test_chosen_keys_have_their_paths_and_modes_and_containers_cannot_write(world: World) -> None:
    await world.config_map(a="1", b="2")
    items = [KeyToPath(key="a", path="deep/one", mode=0o600), KeyToPath(key="b", path="two")]
    source = ConfigMapVolumeSource(name="conf", items=items, default_mode=0o444)
    place = await world.place(with_volume(config_map=source))
    assert place.read_only
    assert {str(p.relative_to(place.path)) for p in place.path.iterdir() if p.name[:2] != ".."} == {"deep", "two"}
    assert (mode(place.path / "deep/one"), mode(place.path / "two")) == (0o600, 0o444)
    (mount,) = mounts_of(wish(volume_mounts=[VolumeMount(name="v", mount_path="/x")]), {"v": place}, {}, on_disk=True)
    assert mount.read_only


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"config_map": ConfigMapVolumeSource(name="none")}, 'configmap "none" not found'),
        ({"secret": SecretVolumeSource(secret_name="none")}, 'secret "none" not found'),
        (
            {"config_map": ConfigMapVolumeSource(name="conf", items=[KeyToPath(key="z", path="z")])},
            "references non-existent config key: z",
        ),
        ({"nfs": NFSVolumeSource(server="x", path="/")}, "volumes of kind nfs are not supported here"),
        ({"csi": CSIVolumeSource(driver="x")}, "volumes of kind csi are not supported here"),
        ({"empty_dir": EmptyDirVolumeSource(medium="HugePages")}, "medium 'HugePages' is not supported"),
        (
            {
                "projected": ProjectedVolumeSource(
                    sources=[VolumeProjection(pod_certificate=PodCertificateProjection())]
                )
            },
            "projected sources of kind podCertificate are not supported",
        ),
        ({"host_path": HostPathVolumeSource(path="/etc/passwd", type="Directory")}, "/etc/passwd is not a directory"),
        ({"host_path": HostPathVolumeSource(path="/etc", type="Socket")}, "/etc is not a socket file"),
        ({"host_path": HostPathVolumeSource(path="/etc", type="Sonnet")}, "type 'Sonnet' is not known"),
        ({"host_path": HostPathVolumeSource(path="/etc/../root")}, "without '..'"),
    ],
)
async def test_a_refusal_names_the_volume_and_the_reason(world: World, source: dict[str, object], words: str) -> None:
    await world.config_map(a="1")
    with pytest.raises(MissingReference, match=r'MountVolume\.SetUp failed for volume "v" : ') as refused:
        await world.place(with_volume(**source))
    assert words in str(refused.value)


async def test_what_is_optional_may_be_absent_and_appears_later(world: World) -> None:
    thing = with_volume(config_map=ConfigMapVolumeSource(name="conf", optional=True))
    place = await world.place(thing)
    assert [p.name for p in place.path.iterdir() if p.name[:2] != ".."] == []
    await world.config_map(a="1")
    await world.place(thing)
    assert (place.path / "a").read_text() == "1"


async def test_a_switch_that_was_interrupted_leaves_nothing_behind(world: World) -> None:
    await world.config_map(a="1")
    thing = with_volume(config_map=ConfigMapVolumeSource(name="conf"))
    place = await world.place(thing)
    (place.path / "..v_7").mkdir()
    (place.path / "..v_7" / "half").touch()
    del world.client.objects[(ConfigMap, "default", "conf")]
    await world.config_map(a="2")
    await world.place(thing)
    assert (place.path / "a").read_text() == "2"
    assert len(list(place.path.glob("..v_*"))) == 1


@pytest.mark.root
async def test_the_group_of_the_pod_may_read_files_and_write_empty_directories(world: World) -> None:
    await world.client.create(Secret(metadata=ObjectMeta(name="s", namespace="default"), data={"k": b"v"}))
    place = await world.place(with_volume(group=4000, secret=SecretVolumeSource(secret_name="s", default_mode=0o400)))
    assert ((place.path / "k").stat().st_gid, mode(place.path / "k")) == (4000, 0o440)
    await world.volumes.remove("u1")
    place = await world.place(with_volume(group=4000, empty_dir=EmptyDirVolumeSource()))
    assert (place.path.stat().st_gid, mode(place.path)) == (4000, 0o2777)


@pytest.mark.root
async def test_memory_is_mounted_bounded_and_taken_off_again(world: World) -> None:
    thing = with_volume(empty_dir=EmptyDirVolumeSource(medium="Memory", size_limit="1Mi"))
    place = await world.place(thing)
    assert mounted(place.path)
    assert os.statvfs(place.path).f_blocks * os.statvfs(place.path).f_frsize == 1 << 20
    (place.path / "f").write_text("kept")
    assert (await world.place(thing)).path.joinpath("f").read_text() == "kept"
    await world.volumes.remove(thing.metadata.uid)
    assert not place.path.exists()
    assert not mounted(place.path)


async def test_an_empty_directory_that_is_overfull_is_named(world: World) -> None:
    thing = with_volume(empty_dir=EmptyDirVolumeSource(size_limit="1Mi"))
    place = await world.place(thing)
    assert await world.volumes.overfull(thing) == ""
    (place.path / "big").write_bytes(b"x" * (2 << 20))
    assert await world.volumes.overfull(thing) == 'Usage of EmptyDir volume "v" exceeds the limit "1Mi". '


def projected(*, user: int | None = None, seconds: int = 3600) -> Pod:
    sources = [
        VolumeProjection(service_account_token=ServiceAccountTokenProjection(path="token", expiration_seconds=seconds)),
        VolumeProjection(config_map=ConfigMapProjection(name="conf", items=[KeyToPath(key="a", path="ca.crt")])),
        VolumeProjection(secret=SecretProjection(name="none", optional=True)),
        VolumeProjection(
            downward_api=DownwardAPIProjection(
                items=[
                    DownwardAPIVolumeFile(
                        path="namespace", field_ref=ObjectFieldSelector(field_path="metadata.namespace")
                    )
                ]
            )
        ),
    ]
    return with_volume(user=user, projected=ProjectedVolumeSource(sources=sources))


async def test_a_projected_volume_gathers_its_sources_and_the_token_is_bound_to_the_pod(world: World) -> None:
    await world.config_map(a="authority")
    thing = projected()
    place = await world.place(thing)
    texts = {p.name: p.read_text() for p in place.path.iterdir() if p.name[:2] != ".."}
    assert texts == {"token": "token-1", "ca.crt": "authority", "namespace": "default"}
    assert mode(place.path / "token") == 0o644, "whatever user the image runs as may read it"
    (asked,) = world.client.tokens
    assert asked.spec.bound_object_ref is not None
    assert (asked.spec.bound_object_ref.kind, asked.spec.bound_object_ref.uid) == ("Pod", thing.metadata.uid)


@pytest.mark.root
async def test_a_token_belongs_to_the_one_user_of_all_containers(world: World) -> None:
    await world.config_map(a="1")
    place = await world.place(projected(user=1234))
    assert ((place.path / "token").stat().st_uid, mode(place.path / "token")) == (1234, 0o600)


def test_containers_of_different_users_have_no_common_one() -> None:
    both = [wish("a", security_context=SecurityContext(run_as_user=1)), wish("b")]
    assert common_user(pod(*both)) is None
    assert common_user(pod(both[0])) == 1


async def test_a_token_is_renewed_at_four_fifths_of_its_life_and_serves_on_when_it_cannot_be(world: World) -> None:
    await world.config_map(a="1")
    thing = projected(seconds=1000)

    async def token() -> str:
        return ((await world.place(thing)).path / "token").read_text()

    assert await token() == "token-1"
    await asyncio.sleep(790)
    assert await token() == "token-1"
    await asyncio.sleep(20)
    world.client.refuse_tokens = True
    assert await token() == "token-1"
    world.client.refuse_tokens = False
    assert await token() == "token-2"
    await asyncio.sleep(1001)
    world.client.refuse_tokens = True
    with pytest.raises(MissingReference, match="failed to fetch token: no tokens today"):
        await token()


def test_block_devices_and_recursive_read_only_mounts_are_refused(tmp_path: Path) -> None:
    raw = wish(volume_devices=[VolumeDevice(name="v", device_path="/dev/x")])
    with pytest.raises(MissingReference, match="block devices"):
        mounts_of(raw, {"v": Place(tmp_path)}, {}, on_disk=True)
    mount = VolumeMount(name="v", mount_path="/x", read_only=True, recursive_read_only="Enabled")
    with pytest.raises(MissingReference, match="recursiveReadOnly"):
        mounts_of(wish(volume_mounts=[mount]), {"v": Place(tmp_path)}, {}, on_disk=True)
