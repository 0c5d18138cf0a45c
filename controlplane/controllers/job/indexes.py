"""Completion indexes: of a pod, and many of them as text ("0,2-4")."""

from __future__ import annotations

import re
from collections.abc import Collection

from kubeapi.types.core_v1 import Pod

_NUMBER = re.compile(r"\d{1,10}", re.ASCII)
_RUN = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?", re.ASCII)
INDEX = "batch.kubernetes.io/job-completion-index"


def index_of(pod: Pod) -> int | None:
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if _NUMBER.fullmatch(text) else None


def parse_indexes(text: str, completions: int) -> set[int]:
    """Those below `completions`. What is not to be read is left out, as it was not written by a Job controller."""
    found: set[int] = set()
    for part in text.split(","):
        if match := _RUN.fullmatch(part):
            first, last = int(match[1]), int(match[2] or match[1])
            found.update(range(first, min(last, completions - 1) + 1))
    return found


def format_indexes(indexes: Collection[int]) -> str:
    """Runs of three and more as first-last, as Kubernetes writes them; two neighbours by a comma."""
    runs: list[list[int]] = []
    for index in sorted(indexes):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
