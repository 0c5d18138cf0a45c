"""The alert rules: each has a case, each metric in them exists, and promtool (where it is; the image has it) finds the cases to
hold. That the etcd metrics exist is seen in tests/e2e/test_monitoring.py.
"""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
RULES = ROOT / "monitoring" / "alerts.yml"
CASES = ROOT / "monitoring" / "alerts_test.yml"
OF_PROMETHEUS = {"up"}
OF_ETCD = re.compile(r"etcd_(server|disk|mvcc)_")
SUFFIX = re.compile(r"_(bucket|sum|count)$")


def rules() -> list[dict[str, str]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def metrics(expression: str) -> set[str]:
    """Names in it: words that are neither functions nor labels. Ours all have an underscore and stand before { [ ) or space."""
    bare = re.sub(r"\b(by|on|without|group_left|group_right)\s*\([^)]*\)", " ", expression)
    bare = re.sub(r"\{[^}]*\}", " ", bare)
    words = re.findall(r"\b([a-z][a-z0-9_]*)\b(?!\s*\()", bare)
    return {word for word in words if "_" in word or word in OF_PROMETHEUS}


def documented() -> set[str]:
    return set(re.findall(r"^\| `([a-z0-9_]+)` \|", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))


def test_every_metric_exists() -> None:
    names = {name for rule in rules() for name in metrics(rule["expr"])}
    assert len(names) > 20
    unknown = {
        name
        for name in names - OF_PROMETHEUS - documented()
        if SUFFIX.sub("", name) not in documented() and not OF_ETCD.match(name)
    }
    assert not unknown, f"neither docs/metrics.md nor etcd has {sorted(unknown)}"


def test_every_alert_has_a_case_a_severity_and_a_summary() -> None:
    asked = set(re.findall(r'ALERTS\{alertname="(\w+)"', CASES.read_text()))
    assert {rule["alert"] for rule in rules()} == asked
    assert all(rule["labels"]["severity"] in ("critical", "warning") for rule in rules())  # type: ignore[index]
    assert all(rule["annotations"]["summary"] for rule in rules())  # type: ignore[index]


@pytest.mark.promtool
def test_the_cases_hold() -> None:
    done = subprocess.run(["promtool", "test", "rules", CASES.name], cwd=CASES.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
