"""What a start imports: each of these would cost more than a small verb takes."""

import io
import subprocess
import sys

import pytest

from kubectl_lite.__main__ import finished
from kubectl_lite.streams import Streams

HEAVY = ("asyncio", "grpc", "google.protobuf", "yaml", "msgspec", "kubeapi.codec", "kubeapi.types.core_v1", "email")
SCRIPT = """
import io, sys
from kubectl_lite.__main__ import finished
from kubectl_lite.streams import Streams
finished({words!r}, Streams(io.StringIO(), io.StringIO(), io.BytesIO()), {{"KUBECONFIG": {config!r}}})
print(",".join(name for name in {heavy!r} if name in sys.modules))
"""
CONFIG = (
    '{"current-context":"c","contexts":[{"name":"c","context":{"cluster":"k"}}],"clusters":[{"name":"k","cluster":%s}]}'
)
AWAY = '{"extensions":[{"name":"sampan.dev/grpc","extension":{"address":"127.0.0.1:1"}}]}'


def imported(words: list[str], config: str = "") -> set[str]:
    script = SCRIPT.format(words=words, config=config, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(filter(None, done.stdout.strip().split(",")))


@pytest.mark.parametrize("words", [["version", "--client"], ["options"], ["completion", "bash"], [], ["nonsense"]])
def test_what_asks_no_server_imports_nothing_heavy(words: list[str]) -> None:
    assert imported(words) == set()


def test_a_table_takes_grpc_and_no_types(tmp_path: object) -> None:
    file = f"{tmp_path}/config"
    with open(file, "w") as out:
        out.write(CONFIG % AWAY)
    assert imported(["get", "pods", "--request-timeout=100ms"], file) >= {"asyncio", "grpc"}
    assert not imported(["get", "pods", "--request-timeout=100ms"], file) & {"msgspec", "kubeapi.codec", "yaml"}


@pytest.mark.parametrize(
    ("verb", "instead"),
    [
        ("kustomize", "`kubectl kustomize DIR`"),
        ("debug", "kubectl has"),
        ("proxy", "kubectl has"),
        ("frobnicate", "unknown command"),
    ],
)
def test_a_verb_that_there_is_not_says_what_to_do_instead(verb: str, instead: str) -> None:
    err = io.StringIO()
    assert finished([verb, "x"], Streams(io.StringIO(), err, io.BytesIO()), {}) == 1
    assert f'"{verb}"' in err.getvalue() and instead in err.getvalue()
