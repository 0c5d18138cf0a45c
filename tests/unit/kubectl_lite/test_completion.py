"""What a tab offers, without a server."""

from collections.abc import Sequence

import pytest

from kubectl_lite.errors import UsageError
from kubectl_lite.verbs.completion import candidates
from kubectl_lite.verbs.cp import Place, place
from kubectl_lite.verbs.port_forward import Pair, pair, pod_port

THERE = {
    ("pods", ""): ["web-1", "db-1"],
    ("pods", "x"): ["other"],
    ("nodes", ""): ["n1"],
    ("namespaces", ""): ["x"],
    ("contexts", ""): ["sampan"],
}


async def names_of(kind: str, namespace: str) -> Sequence[str]:
    return THERE.get((kind, namespace), [])


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["des"], ["describe"]),
        (["rollout", "st"], ["status"]),
        (["get", "deploym"], ["deployments"]),
        (["get", "pods", "w"], ["web-1"]),
        (["get", "pods/w"], ["pods/web-1"]),
        (["get", "-n", ""], ["x"]),
        (["get", "--namespace", "=", ""], ["x"]),
        (["get", "--namespace", "=", "x", "pods", "o"], ["other"]),
        (["get", "--namespace="], ["--namespace=x"]),
        (["--context", "s"], ["sampan"]),
        (["get", "pods", "-o", "j"], ["json", "jsonpath="]),
        (["get", "pods", "-o", "w"], ["wide"]),
        (["describe", "--output=w"], []),
        (["apply", "--dry-run", ""], ["none", "client", "server"]),
        (["apply", "--dry-run=c"], ["--dry-run=client"]),
        (["patch", "--type", "m"], ["merge"]),
        (["get", "-A", "deploym"], ["deployments"]),
        (["create", "dep"], ["deployment", "deploy"]),
        (["config", "use-context", ""], ["sampan"]),
        (["completion", "z"], ["zsh"]),
        (["explain-pending", "w"], ["web-1"]),
        (["top", "pods", "w"], ["web-1"]),
        (["get", "-n", "x", "pods", ""], ["other"]),
        (["logs", "d"], ["db-1"]),
        (["drain", ""], ["n1"]),
        (["get", "--show-l"], ["--show-labels"]),
        (["nonsense", ""], []),
    ],
)
async def test_a_tab_offers(words: list[str], offered: list[str]) -> None:
    assert await candidates(words, names_of) == offered


def test_a_place_of_cp() -> None:
    assert place("n/p:/a") == Place("/a", "p", "n")
    assert place("p:a") == Place("a", "p")
    assert place("./a:b") == Place("./a:b")
    with pytest.raises(UsageError):
        place("p:")


def test_ports_of_port_forward() -> None:
    assert (pair("80"), pair("8080:80"), pair(":http")) == (Pair(80, "80"), Pair(8080, "80"), Pair(0, "http"))
    for wrong in ("x:80", "0:0", "80:", "99999"):
        with pytest.raises(UsageError):
            pair(wrong)
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}}
    service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "targetPort": "http"}]}}
    assert pod_port(pod, "80", service) == pod_port(pod, "http", None) == 8080
    with pytest.raises(UsageError, match="named port"):
        pod_port(pod, "nope", None)
