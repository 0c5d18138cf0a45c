"""Service rules: a change touches what it must, and applying differences always arrives where a fresh start would."""

import re
from random import Random

import pytest

from node_agent.network.interface import ServicePort
from node_agent.network.kernel import Flow
from node_agent.network.services import Rules, desired, script, stale, udp_backends

WEB = ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, [("10.244.1.2", 80), ("10.244.2.2", 80)])
DB = ServicePort("d/db:sql", "tcp", ["10.96.0.21"], 5432, 0, [("10.244.1.9", 5432)])

CLUSTER = "10.244.0.0/16"
ENDPOINTS = [("10.244.1.2", 80), ("10.244.2.2", 80), ("10.244.1.9", 8080)]


def some_ports(random: Random) -> list[ServicePort]:
    return [
        ServicePort(
            service=service,
            protocol="tcp",
            cluster_ips=["10.96.0.20"],
            port=port,
            node_port=random.choice([0, port + 30000]),
            endpoints=random.sample(ENDPOINTS, random.randrange(4)),
            affinity_seconds=random.choice([0, 0, 60, 90]),
            local_only=random.random() < 0.5,
            internal_local=random.random() < 0.3,
            balancer_ips=random.choice([[], ["192.0.2.80"]]),
            source_ranges=random.choice([[], ["198.51.100.0/24"]]),
            local_endpoints=random.sample(ENDPOINTS, random.randrange(3)),
        )
        for service, port in zip(random.sample(["d/a:x", "d/b:x", "e/a:x"], 3), [80, 443, 8080], strict=True)
        if random.random() < 0.7
    ]


class Table:
    """Enough of nft to apply our scripts, and to refuse what nft refuses."""

    def __init__(self) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, str] = {}
        self.elements: dict[tuple[str, str], str] = {}

    def apply(self, text: str) -> None:
        for line in text.splitlines():
            match line.split(" ", 4):
                case ["add", "chain", _, _, name]:
                    assert name not in self.chains
                    self.chains[name] = []
                case ["flush", "chain", _, _, name]:
                    self.chains[name].clear()
                case ["delete", "chain", _, _, name]:
                    uses = [v for v in self.elements.values() if v.endswith(name)]
                    uses += [r for rules in self.chains.values() for r in rules if re.search(rf"\b{name}\b", r)]
                    assert not uses, f"{name} is in use: {uses}"
                    del self.chains[name]
                case ["add", "rule", _, _, rest]:
                    name, _, rule = rest.partition(" ")
                    for target in re.findall(r"goto (\w+)", rule):
                        assert target in self.chains
                    for known in re.findall(r"@(\w+)", rule):
                        assert known in self.sets
                    self.chains[name].append(rule)
                case ["add", "set", _, _, rest]:
                    name, _, declaration = rest.partition(" ")
                    self.sets[name] = declaration.strip("{ };").strip()
                case ["delete", "set", _, _, name]:
                    assert not [r for rules in self.chains.values() for r in rules if f"@{name}" in r]
                    del self.sets[name]
                case [verb, "element", _, _, rest]:
                    name, _, body = rest.partition(" ")
                    key, _, value = body.strip("{ }").partition(" : ")
                    if verb == "delete":
                        del self.elements[name, key]
                    else:
                        assert (name, key) not in self.elements
                        target = value.removeprefix("goto ")
                        assert not value.startswith("goto ") or target == "refuse" or target in self.chains
                        self.elements[name, key] = value
                case other:
                    raise AssertionError(f"not understood: {other}")


@pytest.mark.parametrize("seed", range(40))
def test_differences_lead_to_the_same_table_as_a_fresh_start(seed: int) -> None:
    random = Random(seed)
    history = [some_ports(random) for _ in range(5)]
    table, installed = Table(), Rules()
    for step in history:
        wanted = desired(step, {}, cluster_cidr=CLUSTER)
        table.apply(script(wanted, installed))
        installed = wanted
    fresh = Table()
    fresh.apply(script(installed, Rules()))
    assert (table.chains, table.sets, table.elements) == (fresh.chains, fresh.sets, fresh.elements)


def test_nothing_to_change_is_no_transaction() -> None:
    assert script(desired([WEB], {}, cluster_cidr=CLUSTER), desired([WEB], {}, cluster_cidr=CLUSTER)) == ""


def test_a_change_of_one_service_does_not_touch_another() -> None:
    before = desired([WEB, DB], {}, cluster_cidr=CLUSTER)
    after = desired(
        [ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, WEB.endpoints[:1]), DB],
        {},
        cluster_cidr=CLUSTER,
    )
    change = script(after, before)
    assert "5432" not in change
    assert "dnat ip to 10.244.1.2:80" in change


def test_no_endpoints_refuse_and_host_ports_lead_to_the_pod() -> None:
    rules = desired(
        [ServicePort("d/web:http", "tcp", ["10.96.0.20"], 80, 30080, [])],
        {("tcp", 8080): ("10.244.1.2", 80)},
        cluster_cidr=CLUSTER,
    )
    assert rules.elements["refused_services", "10.96.0.20 . tcp . 80"] == "goto refuse"
    assert rules.elements["refused_nodes", "tcp . 30080"] == "goto refuse"
    assert rules.elements["host_ports", "tcp . 8080"] == "10.244.1.2 . 80"


REMOTE, NEAR = ("10.244.2.2", 80), ("10.244.1.2", 80)


def rules_of(port: ServicePort) -> Rules:
    return desired([port], {}, cluster_cidr=CLUSTER)


def test_an_internal_policy_binds_the_cluster_ip_and_not_the_node_port() -> None:
    port = ServicePort("d/a:x", "tcp", ["10.96.0.9"], 80, 30080, [REMOTE], internal_local=True)
    rules = rules_of(port)
    assert rules.elements["service_ports", "10.96.0.9 . tcp . 80"] == "drop"
    (chain,) = [rules.chains[v.removeprefix("goto ")] for k, v in rules.elements.items() if k[0] == "node_ports"]
    assert chain[-1].startswith("goto svc_")


def test_an_external_policy_binds_who_comes_from_outside_and_hides_nobody() -> None:
    port = ServicePort(
        "d/a:x", "tcp", ["10.96.0.9"], 80, 30080, [REMOTE, NEAR], local_only=True, local_endpoints=[NEAR]
    )
    rules = rules_of(port)
    assert rules.elements["service_ports", "10.96.0.9 . tcp . 80"].startswith("goto svc_")
    chain = rules.chains[rules.elements["node_ports", "tcp . 30080"].removeprefix("goto ")]
    assert chain[0].startswith("ip saddr 10.244.0.0/16 goto svc_")
    assert chain[-1].startswith("goto loc_")
    (local,) = rules.chains[chain[-1].removeprefix("goto ")]
    assert "10.244.1.2" in local and "10.244.2.2" not in local


def test_a_node_port_keeps_its_clients_under_the_local_policy_too() -> None:
    port = ServicePort(
        "d/a:x", "tcp", ["10.96.0.9"], 80, 30080, [NEAR], affinity_seconds=60, local_only=True, local_endpoints=[NEAR]
    )
    rules = rules_of(port)
    (local,) = [chain for name, chain in rules.chains.items() if name.startswith("loc_")]
    assert "ip saddr @client_" in local[0]


def test_a_balancers_address_admits_its_source_ranges_only() -> None:
    port = ServicePort(
        "d/a:x", "tcp", ["10.96.0.9"], 80, 0, [NEAR], balancer_ips=["192.0.2.80"], source_ranges=["198.51.100.0/24"]
    )
    rules = rules_of(port)
    chain = rules.chains[rules.elements["service_ports", "192.0.2.80 . tcp . 80"].removeprefix("goto ")]
    assert chain[0] == "ip saddr != { 198.51.100.0/24 } drop"


def flow(destination: str, port: int, answers: str) -> Flow:
    return Flow("10.244.1.7", 4000, destination, port, answers, 53)


def test_flows_to_whom_nobody_answers_any_more_are_forgotten() -> None:
    before = udp_backends([ServicePort("d/dns:", "udp", ["10.96.0.7"], 53, 30053, [("10.244.1.2", 53)])], {})
    after = udp_backends([ServicePort("d/dns:", "udp", ["10.96.0.7"], 53, 30053, [("10.244.1.3", 53)])], {})
    kept = [flow("10.96.0.7", 53, "10.244.1.3"), flow("10.96.0.8", 53, "10.244.1.2"), flow("192.0.2.9", 30053, "x")]
    gone = [
        flow("10.96.0.7", 53, "10.244.1.2"),
        flow("10.96.0.7", 53, "10.96.0.7"),
        flow("192.0.2.1", 30053, "10.244.1.2"),
    ]
    assert stale([*kept, *gone], after, before, local={"192.0.2.1"}) == gone
    assert stale([flow("10.96.0.7", 53, "10.244.1.3")], {}, after, local=()) == [flow("10.96.0.7", 53, "10.244.1.3")]
