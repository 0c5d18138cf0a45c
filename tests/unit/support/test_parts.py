"""A test whose part is missing skips, or fails where the part is required; it never passes in silence."""

import pytest

from tests.support.parts import PARTS, lacks, required

HERE = {
    "etcd": lambda: "needs etcd",
    "docker": lambda: "",
    "netns": lambda: "needs root",
    "kubectl": lambda version="": "" if version in ("", "1.31") else f"needs kubectl {version}",
}


@pytest.mark.parametrize(
    ("needs", "required", "expected"),
    [
        ([("docker", ()), ("timeout", (60,))], {"docker"}, ("", "")),
        ([("etcd", ())], set(), ("", "needs etcd")),
        ([("etcd", ())], {"etcd"}, ("needs etcd", "")),
        ([("netns", ()), ("etcd", ())], {"etcd"}, ("needs etcd", "needs root")),
        ([("kubectl", ("1.31",))], {"kubectl"}, ("", "")),
        ([("kubectl", ("1.33",))], set(), ("", "needs kubectl 1.33")),
        ([("kubectl", ("1.33",)), ("kubectl", ())], {"kubectl"}, ("needs kubectl 1.33", "")),
    ],
)
def test_what_is_required_fails_and_the_rest_skips(
    needs: list[tuple[str, tuple[str, ...]]], required: set[str], expected: tuple[str, str]
) -> None:
    assert lacks(needs, HERE, required) == expected


def test_every_part_is_a_marker(pytestconfig: pytest.Config) -> None:
    markers = {line.partition(":")[0].partition("(")[0] for line in pytestconfig.getini("markers")}
    assert PARTS.keys() <= markers


def test_a_misspelt_requirement_is_refused() -> None:
    assert required("etcd,kubectl") == {"etcd", "kubectl"}
    assert required("") == set()
    with pytest.raises(pytest.UsageError, match=r"names etdc; parts are root, etcd"):
        required("docker,etdc")
