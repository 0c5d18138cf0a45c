"""kubectl-lite prints what kubectl 1.33 prints: the same commands through both, against one server.

The commands are in kubectl_lite_reads.py, asked of the same objects, and in kubectl_lite_changes.py, where each client has a
namespace of its own. What is meant to differ is in their OTHERWISE with the reason, and a line of it that differs no more is
to be taken out.
"""

import asyncio
import difflib
import shlex
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.component import kubectl_lite_changes as changes
from tests.component import kubectl_lite_reads as reads
from tests.component.kubectl_lite_beside import Beside, Said, beside, plain
from tests.support.kubectls import find_kubectls

VERSION = "1.33"
pytestmark = [pytest.mark.kubectl(VERSION), pytest.mark.timeout(120)]

MADE_HERE = "--dry-run=client -o yaml"
"""Of objects that the client makes, kubectl prints Go's empty fields, too: their values are compared, not their text."""
NO_DESCRIPTIONS = "This server's schema knows types but has no descriptions"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Beside]:
    for name, text in changes.MANIFESTS.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    async with beside(tmp_path, find_kubectls(VERSION)[0]) as made:
        yield made


def words_of(line: str, folder: Path) -> list[str]:
    """Files by their whole path, so that it does not matter where a client runs."""
    return [str(folder / word) if (folder / word).exists() else word for word in shlex.split(line)]


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("group", reads.COMMANDS)
async def test_what_is_read_looks_the_same(both: Beside, group: str) -> None:
    asked = commands(reads.COMMANDS[group])
    limit = asyncio.Semaphore(4)

    async def one(line: str) -> Said:
        async with limit:
            return await both.kubectl(shlex.split(line))

    theirs = await asyncio.gather(*map(one, asked))
    ours = [await both.lite(shlex.split(line), space="one") for line in asked]
    compare(asked, theirs, ours, reads.OTHERWISE)


@pytest.mark.parametrize("group", changes.COMMANDS)
async def test_what_is_changed_is_told_the_same(both: Beside, group: str) -> None:
    asked = commands(changes.COMMANDS[group])
    theirs = [await both.kubectl(words_of(line, both.here)) for line in asked]
    ours = [await both.lite(words_of(line, both.here)) for line in asked]
    compare(asked, theirs, ours, changes.OTHERWISE)


def compare(asked: Sequence[str], theirs: Sequence[Said], ours: Sequence[Said], otherwise: Mapping[str, str]) -> None:
    differing = []
    for line, kubectl, lite in zip(asked, theirs, ours, strict=True):
        same = not (found := difference(line, kubectl.plain(), lite.plain()))
        if same and line in otherwise and asked.count(line) == 1:
            differing.append(f"# {line}\nOTHERWISE says that it differs, but it does not")
        if not same and line not in otherwise:
            differing.append(f"# {line}\n{found}")
    assert not differing, "\n\n".join(differing)


def difference(line: str, kubectl: Said, lite: Said) -> str:
    lines = []
    if MADE_HERE in line and kubectl.code == lite.code == 0:
        their, our = (without_empty(yaml.safe_load(said.out)) for said in (kubectl, lite))
        return "" if their == our else f"{their}\n{our}"
    err = "\n".join(text for text in lite.err.splitlines() if not text.startswith(NO_DESCRIPTIONS))
    for name, their, our in (("out", kubectl.out, lite.out), ("err", kubectl.err, err)):
        lines += list(
            difflib.unified_diff(
                their.rstrip().splitlines(), our.rstrip().splitlines(), f"kubectl {name}", name, lineterm="", n=1
            )
        )
    if kubectl.code != lite.code:
        lines.append(f"exit codes {kubectl.code}, {lite.code}")
    return "\n".join(lines)


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in ((k, without_empty(v)) for k, v in value.items()) if v not in (None, {}, [])}
    return [without_empty(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("line", reads.WATCHES)
async def test_what_is_watched_looks_the_same(both: Beside, line: str) -> None:
    """A label is changed, an object comes and goes: as many lines from both, and the same."""
    words = [*shlex.split(line), "-n", "one"]
    async with both.going_on(words) as (theirs, ours):
        first = max(len(await ours.lines(1)), 1)
        await theirs.lines(first)
        for change in (
            "label pod web-1 seen=yes",
            "label cm settings seen=yes",
            "run a-pod-with-a-long-name --image=i",
            "delete pod a-pod-with-a-long-name --force",
            "create configmap made",
            "delete configmap made",
        ):
            assert (await both.lite(shlex.split(change), space="one")).code == 0
        expected = {"pod": first + 1, "cm": first + 3, "pods": first + 3}[words[1]]
        found = [plain("\n".join(await side.lines(expected))) for side in (theirs, ours)]
    assert found[1].splitlines() == found[0].splitlines()
