"""What `sampan init` gives to whom."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from kubeapi.client import kubeconfig
from kubeapi.pki import Credentials
from sampan.init import Host, Plan, make

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        directory=tmp_path,
        servers=[Host("apiserver", "10.0.0.10"), Host("apiserver-2", "10.0.0.11")],
        etcd=[Host("etcd", "10.0.0.5")],
        nodes=[Host("node-1", "10.0.0.21"), Host("node-2", "10.0.0.22")],
        published=["127.0.0.1:7443:7444", "127.0.0.1:7445:7446"],
    )


def test_a_server_is_known_by_every_name_and_address(plan: Plan) -> None:
    make(plan, now=NOW)
    held = Credentials.load(plan.directory / "apiserver", "apiserver")
    wanted = ["127.0.0.1", "10.0.0.10", "10.0.0.11", "10.96.0.1", "apiserver-2", "kubernetes.default.svc"]
    assert held.covers(wanted, now=NOW)
    assert not held.covers(["10.0.0.12"], now=NOW)


def test_members_begin_with_different_servers_and_know_all(plan: Plan) -> None:
    make(plan, now=NOW)
    first, second = (kubeconfig.load(str(plan.directory / node / "kubeconfig")).grpc for node in ("node-1", "node-2"))
    assert {first, second} == {"10.0.0.10:6444,10.0.0.11:6444", "10.0.0.11:6444,10.0.0.10:6444"}
    admin = kubeconfig.load(str(plan.directory / "admin.kubeconfig"))
    assert (admin.server, admin.grpc) == ("https://127.0.0.1:7443", "127.0.0.1:7444,127.0.0.1:7446")


def test_nobody_is_given_an_authority_s_key_and_nodes_no_way_into_the_store(plan: Plan) -> None:
    make(plan, now=NOW)
    keys = {str(path.relative_to(plan.directory)) for path in plan.directory.rglob("ca.key")}
    assert keys == {"ca/ca.key", "ca/etcd/ca.key"}
    assert [path.name for path in (plan.directory / "node-1").iterdir()] == ["kubeconfig"]
    of_api, of_etcd = (Credentials.load(plan.directory / "ca" / where, "ca").cert for where in ("", "etcd"))
    assert of_api != of_etcd


def test_a_second_run_keeps_what_is_good(plan: Plan) -> None:
    make(plan, now=NOW)
    before = {path: path.read_bytes() for path in plan.directory.rglob("*") if path.is_file()}
    make(plan, now=NOW + timedelta(days=30))
    assert {path: path.read_bytes() for path in plan.directory.rglob("*") if path.is_file()} == before


def test_people_have_a_context_for_each_server_and_kubectl_lite_knows_all_in_any(plan: Plan) -> None:
    make(plan, now=NOW)
    path = str(plan.directory / "admin.kubeconfig")
    first, second = kubeconfig.load(path), kubeconfig.load(path, context="sampan-2")
    assert (first.server, second.server) == ("https://127.0.0.1:7443", "https://127.0.0.1:7445")
    assert first.grpc == second.grpc == "127.0.0.1:7444,127.0.0.1:7446"
    assert first.cert == second.cert


def test_prometheus_has_a_certificate_and_what_leads_to_it_is_written(plan: Plan) -> None:
    make(plan, now=NOW)
    assert {path.name for path in (plan.directory / "prometheus").iterdir()} == {
        "ca.crt", "prometheus.crt", "prometheus.key", "kubeconfig"
    }  # fmt: skip
    text = (plan.directory / "monitoring" / "cluster.yaml").read_text()
    services = [item["metadata"]["name"] for item in yaml.safe_load_all(text) if item["kind"] == "Service"]
    assert services == ["etcd"], "nobody named schedulers or controllers"
