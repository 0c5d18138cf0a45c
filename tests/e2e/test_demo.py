"""The demonstration is the end-to-end test: real containers, namespaces and clients on this machine."""

from pathlib import Path

import pytest

from sampan.cluster_layout import Layout
from sampan.demo import Demo

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


def test_every_promise_of_the_demo_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifests = Path(__file__).parents[2] / "manifests" / "demo"
    demo = Demo(layout=Layout(tmp_path / "cluster"), nodes=3, manifests=manifests)
    code = demo.run()
    assert code == 0, capsys.readouterr().out
