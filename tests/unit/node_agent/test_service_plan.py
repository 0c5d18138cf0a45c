"""Services and slices to rules and names."""

from kubeapi.meta import replace
from kubeapi.types.core_v1 import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from kubeapi.types.discovery_v1 import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.environment import expand, service_variables
from node_agent.service_plan import SERVICE_NAME, dns_records, service_ports


def service(name: str = "web", ip: str = "10.96.0.5", **spec: object) -> Service:
    known: dict[str, object] = {"cluster_ip": ip, "cluster_ips": [ip], "ports": [ServicePort(name="http", port=80)]}
    return Service(
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=ServiceSpec(**{**known, **spec}),  # type: ignore[arg-type]
    )


def endpoint(ip: str, *, node: str = "n1", host: str | None = None, **conditions: bool) -> Endpoint:
    return Endpoint(
        addresses=[ip], node_name=node, hostname=host, conditions=EndpointConditions(**{"ready": True, **conditions})
    )


def piece(*endpoints: Endpoint, service: str = "web") -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=f"{service}-x", namespace="default", labels={SERVICE_NAME: service}),
        address_type="IPv4",
        endpoints=list(endpoints),
        ports=[EndpointPort(name="http", port=8080, protocol="TCP")],
    )


def test_ready_endpoints_stand_behind_a_port() -> None:
    (found,) = service_ports([service()], [piece(endpoint("10.0.0.2"), endpoint("10.0.0.3", ready=False))], node="n1")
    assert (found.service, found.protocol, found.cluster_ips, found.port) == (
        "default/web:http", "tcp", ["10.96.0.5"], 80,
    )  # fmt: skip
    assert found.endpoints == [("10.0.0.2", 8080)]


def test_terminating_endpoints_serve_when_no_other_does() -> None:
    leaving = endpoint("10.0.0.3", ready=False, serving=True, terminating=True)
    (alone,) = service_ports([service()], [piece(leaving)], node="n1")
    assert alone.endpoints == [("10.0.0.3", 8080)]
    (both,) = service_ports([service()], [piece(leaving, endpoint("10.0.0.2"))], node="n1")
    assert both.endpoints == [("10.0.0.2", 8080)]


def test_local_traffic_and_affinity() -> None:
    svc = service(type="NodePort", external_traffic_policy="Local", session_affinity="ClientIP")
    (found,) = service_ports([svc], [piece(endpoint("10.0.0.2"), endpoint("10.0.0.9", node="n2"))], node="n1")
    assert found.local_only
    assert found.affinity_seconds == 10800
    assert found.local_endpoints == [("10.0.0.2", 8080)]
    assert len(found.endpoints) == 2


def test_headless_and_external_services_have_names_but_no_rules() -> None:
    headless = service("db", "None")
    alias = service("out", "", type="ExternalName", external_name="example.org.", cluster_ips=[])
    slices = [piece(endpoint("10.0.0.2", host="db-0"), endpoint("10.0.0.3"), service="db")]
    assert service_ports([headless, alias], slices, node="n1") == []
    assert dns_records([headless, alias, service()], slices) == {
        "db.default.svc.cluster.local": ["10.0.0.2", "10.0.0.3"],
        "db-0.db.default.svc.cluster.local": ["10.0.0.2"],
        "10-0-0-3.db.default.svc.cluster.local": ["10.0.0.3"],
        "out.default.svc.cluster.local": ["example.org"],
        "web.default.svc.cluster.local": ["10.96.0.5"],
        "_http._tcp.web.default.svc.cluster.local": ["80 web.default.svc.cluster.local"],
        "_http._tcp.db.default.svc.cluster.local": [
            "8080 10-0-0-3.db.default.svc.cluster.local",
            "8080 db-0.db.default.svc.cluster.local",
        ],
    }


def test_a_headless_service_names_the_unready_only_when_asked_to() -> None:
    slices = [piece(endpoint("10.0.0.2", host="db-0", ready=False), service="db")]
    name = "db.default.svc.cluster.local"
    assert dns_records([service("db", "None")], slices) == {name: []}
    named = dns_records([service("db", "None", publish_not_ready_addresses=True)], slices)
    assert named[name] == named[f"db-0.{name}"] == ["10.0.0.2"]


def test_one_name_spread_over_slices_has_all_their_addresses() -> None:
    slices = [
        piece(endpoint("10.0.0.2", host="db"), service="db"),
        piece(endpoint("10.0.0.3", host="db"), service="db"),
    ]
    assert dns_records([service("db", "None")], slices)["db.db.default.svc.cluster.local"] == ["10.0.0.2", "10.0.0.3"]


def test_an_internal_policy_leaves_the_node_port_alone() -> None:
    svc = service(type="NodePort", internal_traffic_policy="Local")
    (found,) = service_ports([svc], [piece(endpoint("10.0.0.2"), endpoint("10.0.0.9", node="n2"))], node="n1")
    assert found.internal_local and not found.local_only
    assert (len(found.endpoints), found.local_endpoints) == (2, [("10.0.0.2", 8080)])


def test_variables_tell_of_services() -> None:
    env = service_variables([service("my-db")], "default", links=True)
    assert env["MY_DB_SERVICE_HOST"] == "10.96.0.5"
    assert env["MY_DB_PORT_80_TCP"] == "tcp://10.96.0.5:80"
    assert service_variables([service("my-db")], "default", links=False) == {}


def test_expansion() -> None:
    assert expand("a $(B) $$(B) $(C) $", {"B": "b"}) == "a b $(B) $(C) $"


def test_what_is_no_address_never_comes_into_the_rules() -> None:
    """Not even past an API server that let it through: what is made of it root runs."""
    odd = "1.2.3.4 } ; flush ruleset ; #"
    balancer = LoadBalancerStatus(ingress=[LoadBalancerIngress(ip=odd), LoadBalancerIngress(ip="192.0.2.7")])
    made = service(
        type="LoadBalancer",
        cluster_ips=["10.96.0.5", odd],
        external_ips=[odd, "fe80::1%x"],
        load_balancer_source_ranges=[odd, " 10.1.2.3/8", "10.2.0.0/16", "fd00::/8"],
    )
    made = replace(made, status=ServiceStatus(load_balancer=balancer))
    [port] = service_ports([made], [piece(endpoint(odd), endpoint("10.0.0.1"))], node="n1")
    assert port.cluster_ips == ["10.96.0.5"] and port.external_ips == [] and port.balancer_ips == ["192.0.2.7"]
    assert port.endpoints == [("10.0.0.1", 8080)] and port.source_ranges == ["10.0.0.0/8"]


def test_who_allows_another_family_alone_allows_nobody_here() -> None:
    made = service(type="LoadBalancer", load_balancer_source_ranges=["fd00::/8"])
    [port] = service_ports([made], [], node="n1")
    assert port.source_ranges == ["255.255.255.255/32"]
