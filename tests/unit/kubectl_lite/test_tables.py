"""Columns, ages, durations, drain's and taint's decisions, and what a start may import."""

import io
import subprocess
import sys
from argparse import Namespace
from typing import Any

import pytest

from kubectl_lite.__main__ import main
from kubectl_lite.durations import human, parse_duration
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.printing.tabs import align
from kubectl_lite.streams import Streams
from kubectl_lite.table import VERBS, load
from kubectl_lite.verbs.drain import sort_out
from kubectl_lite.verbs.taint import changed, parse


def test_columns_end_where_a_line_has_none() -> None:
    assert align(["a\tb", "long\tc", "x", "a\tb"]) == ["a     b", "long  c", "x", "a  b"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5s"), (119, "119s"), (120, "2m"), (190, "3m10s"), (3600, "60m"), (3 * 3600 + 60, "3h1m"), (30 * 3600, "30h")],
)
def test_ages(seconds: int, text: str) -> None:
    assert human(seconds) == text


def test_durations() -> None:
    assert [parse_duration(t) for t in ("90", "1h30m", "500ms", "-1s")] == [90, 5400, 0.5, -1]
    with pytest.raises(UsageError, match="no duration"):
        parse_duration("soon")


@pytest.mark.parametrize("name", VERBS)
def test_every_verb_of_the_table_is_there_with_examples(name: str) -> None:
    verb = load(name)
    assert verb.help and verb.examples and (verb.bare or verb.sub)


def pod(name: str, owner: str = "", *volumes: dict[str, Any]) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "o", "controller": True}] if owner else []
    return {
        "metadata": {"name": name, "namespace": "d", "ownerReferences": owners},
        "spec": {"volumes": list(volumes)},
        "status": {"phase": "Running"},
    }


def test_drain_tells_everything_that_stands_in_the_way() -> None:
    pods = [pod("ds", "DaemonSet"), pod("e", "ReplicaSet", {"emptyDir": {}}), pod("bare"), pod("ok", "ReplicaSet")]
    no = Namespace(ignore_daemonsets=False, delete_emptydir_data=False, force=False)
    evict, faults, _ = sort_out(pods, no)
    assert [p["metadata"]["name"] for p in evict] == ["ok"] and len(faults) == 3
    yes = Namespace(ignore_daemonsets=True, delete_emptydir_data=True, force=True)
    evict, faults, warnings = sort_out(pods, yes)
    assert [p["metadata"]["name"] for p in evict] == ["e", "bare", "ok"] and not faults
    assert warnings == ["deleting Pods that declare no controller: d/bare", "ignoring DaemonSet-managed Pods: d/ds"]


def test_taints() -> None:
    have = [{"key": "a", "value": "1", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}]
    wanted, unwanted = parse(["b=2:NoExecute", "a:NoSchedule-"])
    assert changed(have, wanted, unwanted, overwrite=False) == [
        {"key": "b", "value": "2", "effect": "NoExecute"},
        {"key": "a", "effect": "NoExecute"},
    ]
    with pytest.raises(Failed, match="overwrite"):
        changed(have, *parse(["a=2:NoSchedule"]), overwrite=False)
    with pytest.raises(UsageError, match="effect"):
        parse(["a=b:Sometimes"])


HEAVY = {"msgspec", "cryptography", "numpy", "docker", "kubeapi.codec", "kubeapi.types.core_v1", "kubeapi.patch"}


def imported(code: str) -> set[str]:
    text = f"{code}\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_get_starts_without_the_types_and_help_without_grpc() -> None:
    get = imported("import kubectl_lite.running, kubectl_lite.connect, kubectl_lite.verbs.get, kubectl_lite.session")
    assert not HEAVY & get
    assert not {"grpc", "google.protobuf", "yaml"} & imported("import kubectl_lite.__main__, kubectl_lite.running")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["proxy"], "kubectl has, and works on this cluster, too"),
        (["gett", "pods"], "Did you mean this?\n\tget"),
        (["--nonsense", "get"], "unknown flag --nonsense before the command"),
        (["rollout", "forward"], "use status, history, undo, restart, pause, resume"),
        (["get", "--nonsense"], "See 'kubectl-lite get --help'"),
    ],
)
def test_a_wrong_command_line_is_answered_with_the_next_step(words: list[str], hint: str) -> None:
    out, err = io.StringIO(), io.StringIO()
    code = main(words, Streams(out=out, err=err, stdin=io.BytesIO()), {})
    assert code == 1 and hint in err.getvalue() and not out.getvalue()
