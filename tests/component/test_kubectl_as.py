"""`--as` and `--as-group`: asked as somebody else, by real kubectl over HTTP and by kubectl-lite over gRPC, with the same answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeapi import pki
from kubeapi.types import rbac_v1
from tests.component.kubectl_lite_beside import Beside, beside
from tests.support.kubectls import find_kubectls

pytestmark = [pytest.mark.kubectl("1.33"), pytest.mark.timeout(60)]
GROUP = "rbac.authorization.k8s.io"


def role(name: str, *rules: tuple[list[str], str, list[str], list[str]]) -> dict[str, Any]:
    """Of verbs, group, resources and names."""
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [
            {"verbs": verbs, "apiGroups": [group], "resources": resources, "resourceNames": names}
            for verbs, group, resources, names in rules
        ],
    }


def binding(name: str, kind: str, subject: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"{name}-{subject}"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": GROUP, "kind": kind, "name": subject}],
    }


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Beside]:
    kubectl = next(path for path in find_kubectls() if path.name.endswith("1.33"))
    async with beside(tmp_path, kubectl) as made:
        for obj in (
            role("reads-pods", (["get", "list"], "", ["pods"], [])),
            role(
                "becomes",
                (["impersonate"], "", ["users"], ["bob"]),
                (["impersonate"], "", ["groups"], ["staff", "ops"]),
                (["impersonate"], "authentication.k8s.io", ["uids"], ["u-1"]),
            ),
            binding("reads-pods", "Group", "staff"),
            binding("becomes", "User", "ann"),
        ):
            await made.put(obj)
        yield made


def kubeconfig_of(both: Beside, user: str) -> str:
    """Of somebody else than the admin, made by the same authority."""
    now = datetime.now(UTC)
    ca = pki.Authority.open(both.here, now=now)
    old = pki_addresses(both.kubeconfig)
    file = both.here / f"kubeconfig-{user}"
    file.write_text(pki.kubeconfig(server=old[0], ca=ca.cert, client=ca.client(user, [], now=now), grpc=old[1]))
    return str(file)


def pki_addresses(kubeconfig: Path) -> tuple[str, str]:
    cluster = yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]
    return cluster["server"], cluster["extensions"][0]["extension"]["address"]


async def same(both: Beside, *words: str) -> tuple[int, str]:
    """What both say, where they say the same."""
    theirs = (await both.kubectl(words, space="one")).plain()
    ours = (await both.lite(words, space="one")).plain()
    hint = "`kubectl auth can-i --list` tells what you may do.\n"
    assert (theirs.code, theirs.out, theirs.err) == (ours.code, ours.out, ours.err.replace(hint, ""))
    return ours.code, ours.out + ours.err


async def test_an_admin_asks_as_anybody(both: Beside) -> None:
    code, said = await same(both, "get", "pods", "--as", "bob")
    assert code == 1 and 'pods is forbidden: User "bob" cannot list resource "pods"' in said
    assert (await same(both, "get", "pods", "--as", "bob", "--as-group", "staff"))[0] == 0
    assert (await same(both, "get", "pods", "--as=bob", "--as-group=ops", "--as-group=staff"))[0] == 0
    assert await same(both, "auth", "can-i", "list", "pods", "--as", "bob") == (1, "no\n")
    assert await same(both, "auth", "can-i", "list", "pods", "--as", "bob", "--as-group", "staff") == (0, "yes\n")
    _, said = await same(both, "auth", "whoami", "--as", "bob", "--as-group", "staff", "--as-uid", "u-1")
    assert "bob" in said and "[staff system:authenticated]" in said and "u-1" in said
    _, said = await same(both, "auth", "whoami", "--as", "system:serviceaccount:one:default")
    assert "[system:serviceaccounts system:serviceaccounts:<ns> system:authenticated]" in said
    _, said = await same(both, "auth", "whoami", "--as", "system:anonymous")
    assert (
        said
        == "error: the selfsubjectreviews API is not enabled in the cluster or you do not have permission to call it\n"
    )
    assert (await same(both, "--as", "bob", "--as-group", "staff", "get", "pods"))[0] == 0, "before the verb, too"


async def test_who_is_no_admin_may_become_what_rbac_says(both: Beside) -> None:
    ann = ("--kubeconfig", kubeconfig_of(both, "ann"))
    code, said = await same(both, "get", "pods", *ann)
    assert code == 1 and 'User "ann" cannot list' in said
    assert (await same(both, "get", "pods", "--as", "bob", "--as-group", "staff", *ann))[0] == 0
    assert (await same(both, "get", "pods", "--as", "bob", "--as-group", "staff", "--as-uid", "u-1", *ann))[0] == 0
    code, said = await same(both, "get", "pods", "--as", "eve", *ann)
    assert (code, said.splitlines()[0]) == (
        1,
        'Error from server (Forbidden): users "eve" is forbidden: User "ann" cannot impersonate resource "users" in API group ""'
        " at the cluster scope",
    )
    for flags, what in (
        (("--as", "bob", "--as-group", "system:masters"), 'groups "system:masters" is forbidden'),
        (
            ("--as", "bob", "--as-group", "staff", "--as-group", "system:serviceaccounts"),
            'groups "system:serviceaccounts" is',
        ),
        (("--as", "bob", "--as-uid", "u-2"), 'uids.authentication.k8s.io "u-2" is forbidden'),
        (("--as", "system:serviceaccount:one:default"), 'serviceaccounts "default" is forbidden'),
    ):
        code, said = await same(both, "get", "pods", *flags, *ann)
        assert code == 1 and what in said and 'User "ann" cannot impersonate' in said


async def test_a_group_without_a_user_is_refused(both: Beside) -> None:
    for asked in (both.kubectl, both.lite):
        said = await asked(["get", "pods", "--as-group", "staff"])
        assert said.code == 1 and "without impersonating a user" in said.err


async def test_a_kubeconfig_may_say_it_and_flags_go_first(both: Beside) -> None:
    """Who has written so would else do more than he meant to."""
    config = yaml.safe_load(both.kubeconfig.read_text())
    config["users"][0]["user"] |= {
        "as": "bob", "as-groups": ["ops", "staff"], "as-uid": "u-1", "as-user-extra": {"acme.com/why": ["left", "right"]}
    }  # fmt: skip
    file = both.here / "kubeconfig-as"
    file.write_text(yaml.safe_dump(config))
    mine = ("--kubeconfig", str(file))
    assert (await same(both, "get", "pods", *mine))[0] == 0
    _, said = await same(both, "auth", "whoami", *mine)
    assert "bob" in said and "[ops staff system:authenticated]" in said and "u-1" in said and "acme.com/why" in said
    assert (await same(both, "get", "pods", "--as-group", "ops", *mine))[0] == 1
    assert 'User "eve" cannot' not in (await same(both, "get", "pods", "--as", "eve", *mine))[1], "with bob's groups"
    assert (await same(both, "delete", "pod", "web-1", *mine))[0] == 1


async def test_raw_requests_go_as_somebody_else_as_well(both: Beside) -> None:
    said = await both.lite(["get", "--raw", "/api/v1/namespaces/one/pods", "--as", "bob"])
    assert said.code == 1 and 'User "bob" cannot list' in said.err
    said = await both.lite(
        ["get", "--raw", "/api/v1/namespaces/one/pods", "--as", "bob", "--as-group", "ops", "--as-group", "staff"]
    )
    assert said.code == 0 and '"PodList"' in said.out


def test_the_group_of_roles_is_written_here_as_it_is_in_the_types() -> None:
    assert rbac_v1.ClusterRole().api_version == f"{GROUP}/v1"
