"""docs/metrics.md lists every metric that the registries hold, with its labels."""

import re

from hack import metrics

OURS = r"\b(?:apiserver|rest_client|node_collector|etcd_request|sampan|scheduler|workqueue|controller_runtime|kubelet|kubeproxy|leader_election|reflector)\w*_\w+"


def test_the_document_is_what_the_registries_tell() -> None:
    assert metrics.DOCUMENT.read_text() == metrics.render(), "run hack/metrics.py"


def test_a_metric_that_is_not_in_the_document_would_be_seen() -> None:
    rows = [line for line in metrics.DOCUMENT.read_text().splitlines() if line.startswith("| `")]
    told = {line.split("`")[1] for line in rows}
    assert metrics.names() <= told
    assert "apiserver_request_total" in told and "sampan_container_restarts_total" in told


def test_labels_name_no_objects() -> None:
    for component, tolds in metrics.documents().items():
        for one in tolds:
            assert not {"namespace", "pod", "uid", "node"} & set(one.labels), f"{component}: {one.name}"


def test_alerts_ask_for_metrics_that_there_are() -> None:
    rules = (metrics.DOCUMENT.parent.parent / "monitoring" / "alerts.yml").read_text()
    asked = {found for line in re.findall(r"expr:(?:.*\n)(?:\s{10,}.*\n)*", rules) for found in re.findall(OURS, line)}
    assert len(asked) > 3
    assert not {name for name in asked if re.sub(r"_(bucket|sum|count)$", "", name) not in metrics.names()}
