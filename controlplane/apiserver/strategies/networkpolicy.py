"""Network policies: what is left out is filled in as Kubernetes does. Nobody enforces them here (a notice says so)."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import unsupported
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.types import networking_v1

TYPES = ("Ingress", "Egress")


class NetworkPolicyStrategy(Strategy):
    def default(self, obj: networking_v1.NetworkPolicy) -> networking_v1.NetworkPolicy:
        spec = obj.spec
        types = spec.policy_types or ["Ingress", *(["Egress"] if spec.egress else [])]
        ingress = [replace(rule, ports=_with_protocols(rule.ports)) for rule in spec.ingress]
        egress = [replace(rule, ports=_with_protocols(rule.ports)) for rule in spec.egress]
        return replace(obj, spec=replace(spec, policy_types=types, ingress=ingress, egress=egress))

    def validate(self, obj: networking_v1.NetworkPolicy) -> Iterator[FieldError]:
        for i, type_ in enumerate(obj.spec.policy_types):
            if type_ not in TYPES:
                yield unsupported(f"spec.policyTypes[{i}]", type_, TYPES)


def _with_protocols(ports: list[networking_v1.NetworkPolicyPort]) -> list[networking_v1.NetworkPolicyPort]:
    return [port if port.protocol else replace(port, protocol="TCP") for port in ports]
