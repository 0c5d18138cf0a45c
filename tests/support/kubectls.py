"""The kubectl binaries that are here: in the directories that SAMPAN_KUBECTL_DIR names, else in PATH and beside Python.

A directory may hold many, as kubectl, kubectl.1.27, kubectl-1.31 and so on; each kind of test runs with each of them.
"""

import os
import re
import sys
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

_NAME = re.compile(r"kubectl([.-]v?\d+\.\d+(\.\d+)?)?")


def find_kubectls() -> list[Path]:
    """By name; the same file is found once."""
    named = os.environ.get("SAMPAN_KUBECTL_DIR", "")
    directories = (named or f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}").split(os.pathsep)
    found: dict[Path, Path] = {}
    for directory in filter(None, directories):
        for path in sorted(Path(directory).glob("kubectl*")):
            if _NAME.fullmatch(path.name) and os.access(path, os.X_OK):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def name_of(path: Path) -> str:
    """Short, for a test's id."""
    return path.name if path.name != "kubectl" else f"{path.parent.name}-kubectl"


def kubectl_params() -> list[ParameterSet]:
    """For a fixture's `params`: one for each, or one that says that there is none."""
    return [pytest.param(p, id=name_of(p)) for p in find_kubectls()] or [pytest.param(None, id="no-kubectl")]


def kubectl_given(request: pytest.FixtureRequest) -> Path:
    """The fixture's kubectl. Skips where there is none, or fails if SAMPAN_REQUIRE names kubectl."""
    path: Path | None = request.param
    if path is None:
        absent = "no kubectl in SAMPAN_KUBECTL_DIR or PATH"
        if "kubectl" in os.environ.get("SAMPAN_REQUIRE", "").split(","):
            pytest.fail(absent)
        pytest.skip(absent)
    return path
