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


def find_kubectls(version: str = "") -> list[Path]:
    """Those that have the version in their name, in the order of their names; the same file is found once."""
    named = os.environ.get("SAMPAN_KUBECTL_DIR", "")
    directories = (named or f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}").split(os.pathsep)
    found: dict[Path, Path] = {}
    for directory in filter(None, directories):
        for path in sorted(Path(directory).glob("kubectl*")):
            if _NAME.fullmatch(path.name) and version in path.name and os.access(path, os.X_OK):
                found.setdefault(path.resolve(), path)
    return list(found.values())


def name_of(path: Path) -> str:
    """Short, for a test's id."""
    return path.name if path.name != "kubectl" else f"{path.parent.name}-kubectl"


def kubectl_params() -> list[ParameterSet]:
    """For a fixture's `params`: one for each, or one whose mark says that there is none."""
    marks = pytest.mark.kubectl
    found = [pytest.param(path, id=name_of(path), marks=marks) for path in find_kubectls()]
    return found or [pytest.param(None, id="no-kubectl", marks=marks)]
