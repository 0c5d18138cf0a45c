"""Several API servers in one address."""

import pytest

from kubeapi.client.grpc_target import SERVER_NAME, target


@pytest.mark.parametrize("address", ["10.0.0.1:6444", "apiserver:6444", "unix:/run/api.sock", "[::1]:6444"])
def test_one_address_goes_as_it_is(address: str) -> None:
    assert target(address) == (address, ())


def test_several_become_one_list_known_by_the_name_they_share() -> None:
    where, options = target("10.0.0.1:6444, localhost:7444")
    assert where == "ipv4:10.0.0.1:6444,127.0.0.1:7444"
    assert options == (("grpc.ssl_target_name_override", SERVER_NAME),)


@pytest.mark.parametrize("bad", ["10.0.0.1,10.0.0.2:6444", "10.0.0.1:x,10.0.0.2:1", ":1,:2"])
def test_each_of_a_list_needs_host_and_port(bad: str) -> None:
    with pytest.raises(ValueError, match="host:port"):
        target(bad)
