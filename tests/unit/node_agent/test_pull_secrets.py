"""Which logins fit an image."""

import base64
import json

import pytest

from kubeapi.types.core_v1 import Secret
from node_agent.pull_secrets import full_name, logins_for
from node_agent.runtimes.interface import Login


def secret(auths: object, *, kind: str = "kubernetes.io/dockerconfigjson") -> Secret:
    key = "." + kind.partition("/")[2]
    return Secret(type=kind, data={key: json.dumps(auths).encode()})


def entry(user: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:pw".encode()).decode()}


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("nginx:1.25", "docker.io/library/nginx"),
        ("me/app@sha256:00", "docker.io/me/app"),
        ("localhost:5000/app:v1", "localhost:5000/app"),
        ("registry.example.org/team/app", "registry.example.org/team/app"),
        ("index.docker.io/me/app", "docker.io/me/app"),
    ],
)
def test_the_full_name_of_an_image(image: str, name: str) -> None:
    assert full_name(image) == name


@pytest.mark.parametrize(
    ("server", "image", "fits"),
    [
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "me/app", True),
        ("https://index.docker.io/v1/", "ghcr.io/me/app", False),
        ("ghcr.io", "ghcr.io/me/app:v1", True),
        ("ghcr.io/me", "ghcr.io/me/app", True),
        ("ghcr.io/me", "ghcr.io/meister/app", False),
        ("*.example.org", "eu.example.org/app", True),
        ("*.example.org", "a.b.example.org/app", False),
        ("localhost:5000", "localhost:5000/app", True),
        ("localhost:5000", "localhost:5001/app", False),
    ],
)
def test_a_login_fits_its_registry_and_path(server: str, image: str, fits: bool) -> None:
    assert bool(logins_for(image, [secret({"auths": {server: entry("u")}})])) is fits


def test_the_most_exact_login_is_tried_first_and_every_way_to_write_one_is_read() -> None:
    auths = {
        "ghcr.io": {"username": "wide", "password": "a"},
        "ghcr.io/me/app": {"identitytoken": "t"},
        "ghcr.io/me": entry("team"),
    }
    assert logins_for("ghcr.io/me/app", [secret({"auths": auths})]) == [
        Login(identity_token="t"), Login("team", "pw"), Login("wide", "a"),
    ]  # fmt: skip
    assert logins_for("ghcr.io/x", [secret({"ghcr.io": entry("old")}, kind="kubernetes.io/dockercfg")]) == [
        Login("old", "pw")
    ]


@pytest.mark.parametrize("data", [b"", b"not json", b"[]", b'{"auths": []}', b'{"auths": {"ghcr.io": {"auth": "%%"}}}'])
def test_what_cannot_be_read_is_no_login(data: bytes) -> None:
    broken = Secret(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": data})
    assert logins_for("ghcr.io/me/app", [broken]) == []


def test_a_login_does_not_show_its_password() -> None:
    assert "pw" not in repr(Login("u", "pw"))
