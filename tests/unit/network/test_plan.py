import pytest

from node_agent.network.errors import NetworkError
from node_agent.network.interface import Peer
from node_agent.network.plan import PodLink, link_name, next_address, read_alias, tunnels, write_alias


@pytest.mark.parametrize(
    ("taken", "after", "expected"),
    [
        ([], "", "10.0.0.2"),
        (["10.0.0.2"], "", "10.0.0.3"),
        ([], "10.0.0.2", "10.0.0.3"),
        ([], "10.0.0.6", "10.0.0.2"),
        (["10.0.0.2", "10.0.0.3"], "10.0.0.6", "10.0.0.4"),
    ],
)
def test_addresses_go_round(taken: list[str], after: str, expected: str) -> None:
    assert next_address("10.0.0.0/29", taken, after) == expected


def test_a_full_range_says_so() -> None:
    with pytest.raises(NetworkError, match=r"no free address in 10\.0\.0\.0/30: 1 pods"):
        next_address("10.0.0.0/30", ["10.0.0.2"], "")


@pytest.mark.parametrize("ports", [(), (("TCP", 8080, 80), ("UDP", 53, 53))])
def test_an_alias_is_read_as_it_was_written(ports: tuple[tuple[str, int, int], ...]) -> None:
    link = PodLink("0b5d-uid", "10.0.0.2", ports)
    assert read_alias(write_alias(link)) == link


def test_links_of_others_are_not_ours() -> None:
    assert read_alias("") is None
    assert read_alias("uplink to rack 3") is None


def test_a_link_name_fits_the_kernel() -> None:
    assert len(link_name("0b5d4c5e-1111-2222-3333-444455556666")) <= 15


def test_a_peer_that_is_not_known_in_full_has_no_tunnel_yet() -> None:
    known = Peer("b", "10.244.2.0/24", "192.0.2.2", "0e:00:00:00:00:02")
    found = tunnels([known, Peer("c", "10.244.3.0/24", "192.0.2.3", "")], "vx")
    assert found.forwardings == {known.mac: "192.0.2.2"}
    assert [route.destination for route in found.routes] == ["10.244.2.0/24"]
