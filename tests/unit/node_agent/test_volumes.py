"""Volume files: atomic switches, paths that try to leave, modes; and what a pod's network files say."""

from pathlib import Path

import pytest

from kubeapi.types.core_v1 import HostAlias, VolumeMount
from node_agent.pod_files import hosts, resolv_conf
from node_agent.references import MissingReference
from node_agent.volume_files import File, write_tree
from node_agent.volumes import Place, mounts_of
from tests.unit.node_agent.pods import pod, wish


def test_files_appear_change_and_vanish(tmp_path: Path) -> None:
    here = tmp_path / "v"
    write_tree(here, {"a": File(b"1"), "deep/b": File(b"2", 0o400)}, None)
    assert (here / "a").read_bytes() == b"1"
    assert (here / "deep" / "b").stat().st_mode & 0o777 == 0o400
    held = (here / "..data").resolve()
    write_tree(here, {"a": File(b"3")}, None)
    assert (here / "a").read_bytes() == b"3"
    assert not (here / "deep").exists()
    assert not held.exists()


def test_unchanged_files_are_not_written_again(tmp_path: Path) -> None:
    write_tree(tmp_path, {"a": File(b"1")}, None)
    before = (tmp_path / "..data").readlink()
    write_tree(tmp_path, {"a": File(b"1")}, None)
    assert (tmp_path / "..data").readlink() == before


def test_a_path_out_of_the_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingReference, match="leads out"):
        write_tree(tmp_path / "v", {"../evil": File(b"1")}, None)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("path", ["../up", "/etc", "a/../../b"])
def test_a_sub_path_stays_inside(tmp_path: Path, path: str) -> None:
    thing = wish(volume_mounts=[VolumeMount(name="v", mount_path="/x", sub_path=path)])
    with pytest.raises(MissingReference):
        mounts_of(thing, {"v": Place(tmp_path)}, {}, on_disk=True)


@pytest.mark.parametrize("path", ["out", "out/new", "loop/new"])
def test_a_sub_path_through_a_symlink_stays_inside(tmp_path: Path, path: str) -> None:
    volume, outside = tmp_path / "v", tmp_path / "outside"
    volume.mkdir()
    outside.mkdir()
    (volume / "out").symlink_to(outside)
    (volume / "loop").symlink_to("loop")
    thing = wish(volume_mounts=[VolumeMount(name="v", mount_path="/x", sub_path=path)])
    with pytest.raises(MissingReference):
        mounts_of(thing, {"v": Place(volume)}, {}, on_disk=True)
    assert list(outside.iterdir()) == [], "nor is anything made there first"


def test_a_sub_path_expression_uses_the_environment(tmp_path: Path) -> None:
    thing = wish(volume_mounts=[VolumeMount(name="v", mount_path="/x", sub_path_expr="$(NAME)", read_only=True)])
    (mount,) = mounts_of(thing, {"v": Place(tmp_path)}, {"NAME": "web"}, on_disk=True)
    assert (mount.source, mount.read_only) == (str(tmp_path / "web"), True)


HOST = "search lan\nnameserver 192.0.2.53\noptions timeout:1\n"


def test_cluster_first_asks_the_cluster() -> None:
    text = resolv_conf(pod(), dns_ip="10.96.0.10", domain="cluster.local", host_text=HOST)
    assert text.splitlines() == [
        "search default.svc.cluster.local svc.cluster.local cluster.local lan",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]


@pytest.mark.parametrize("spec", [{"dns_policy": "Default"}, {"host_network": True}])
def test_the_machines_own_dns(spec: dict[str, object]) -> None:
    assert resolv_conf(pod(**spec), dns_ip="10.96.0.10", domain="cluster.local", host_text=HOST) == HOST


def test_hosts_name_the_pod_and_its_aliases() -> None:
    thing = pod(subdomain="db", host_aliases=[HostAlias(ip="192.0.2.9", hostnames=["old", "older"])])
    lines = hosts(thing, pod_ip="10.244.0.2", domain="cluster.local").splitlines()
    assert lines[2:] == ["10.244.0.2\tweb.db.default.svc.cluster.local\tweb", "192.0.2.9\told\tolder"]


def test_a_pod_of_the_host_network_sees_the_machines_hosts_and_its_aliases() -> None:
    thing = pod(host_network=True, host_aliases=[HostAlias(ip="192.0.2.9", hostnames=["old"])])
    text = hosts(thing, pod_ip="192.0.2.1", domain="cluster.local", host_text="127.0.0.1 localhost box\n")
    assert text.splitlines() == ["127.0.0.1 localhost box", "192.0.2.9\told"]
