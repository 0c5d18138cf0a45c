"""Pods: created Pending, changed in little, deleted with grace by their node.

Pods of one template come with one spec, the same object (kubeapi.codec_shared). What follows from it alone, or from it and
the same account and class, is worked out for the first of them and shared by all: defaults, admission, faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import ClassVar

from controlplane.apiserver.strategies.pod_admission import (
    Surroundings,
    account_of,
    all_there,
    class_of,
    has_ca,
    with_account,
    with_priority,
)
from controlplane.apiserver.strategies.pod_defaults import default_pod_spec
from controlplane.apiserver.strategies.pod_validation import pod_spec_faults
from controlplane.apiserver.strategy import METADATA_FIELDS, Strategy
from controlplane.apiserver.validation import address_faults, forbidden, invalid
from kubeapi.errors import FieldError
from kubeapi.meta import name_suffix, replace
from kubeapi.quantity import parse
from kubeapi.remembered import by_identity
from kubeapi.types import core_v1, scheduling_v1

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
EVICT_AFTER = 300
"""Seconds a pod stays on a lost node by default."""


class PodStrategy(Strategy):
    fields: ClassVar = {
        **METADATA_FIELDS,
        "spec.nodeName": lambda o: o.spec.node_name,
        "spec.restartPolicy": lambda o: o.spec.restart_policy,
        "spec.schedulerName": lambda o: o.spec.scheduler_name,
        "spec.serviceAccountName": lambda o: o.spec.service_account_name,
        "spec.hostNetwork": lambda o: str(o.spec.host_network).lower(),
        "status.phase": lambda o: o.status.phase,
        "status.podIP": lambda o: o.status.pod_ip,
        "status.nominatedNodeName": lambda o: o.status.nominated_node_name,
    }

    def __init__(self, around: Surroundings | None = None, rng: Random | None = None) -> None:
        self._around = around or Surroundings()
        self._rng = rng or Random(0)

        @by_identity()
        def admitted(
            spec: core_v1.PodSpec,
            account: core_v1.ServiceAccount | None,
            found: scheduling_v1.PriorityClass | None,
            ca: bool,
        ) -> core_v1.Pod:
            return _admitted(spec, account, found, ca, lambda: name_suffix(self._rng))

        self._admitted = admitted

    def default(self, obj: core_v1.Pod) -> core_v1.Pod:
        return replace(obj, spec=_defaulted(obj.spec))

    def must_see_newest(self, obj: core_v1.Pod) -> bool:
        return not all_there(obj.spec, obj.metadata.namespace, self._around)

    def prepare_create(self, obj: core_v1.Pod) -> core_v1.Pod:
        """Admission: a service account and its token, tolerations for a lost node, the priority of its class."""
        namespace, around = obj.metadata.namespace, self._around
        mirror = "kubernetes.io/config.mirror" in obj.metadata.annotations
        account = None if mirror else account_of(obj.spec, namespace, around)
        made = self._admitted(obj.spec, account, class_of(obj.spec, around), has_ca(namespace, around))
        return replace(obj, spec=made.spec, status=made.status)

    def validate(self, obj: core_v1.Pod) -> Iterator[FieldError]:
        yield from _faults(obj.spec)

    def validate_update(self, new: core_v1.Pod, old: core_v1.Pod) -> Iterator[FieldError]:
        """Only images, a nearer deadline, more tolerations and fewer scheduling gates may change."""

        def neutral(spec: core_v1.PodSpec) -> core_v1.PodSpec:
            return replace(
                spec,
                containers=[replace(c, image="") for c in spec.containers],
                init_containers=[replace(c, image="") for c in spec.init_containers],
                active_deadline_seconds=None,
                tolerations=[],
                scheduling_gates=[],
            )

        if neutral(new.spec) != neutral(old.spec):
            yield forbidden(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`, "
                "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to "
                "existing tolerations), `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
                "previously negative)",
            )
        deadline, before = new.spec.active_deadline_seconds, old.spec.active_deadline_seconds
        if before is not None and (deadline is None or deadline > before):
            yield invalid(
                "spec.activeDeadlineSeconds", deadline, f"must be less than or equal to the previous value {before}"
            )
        if any(g not in old.spec.scheduling_gates for g in new.spec.scheduling_gates):
            yield forbidden("spec.schedulingGates", "only deletion is allowed, but found new scheduling gates")
        kept = [replace(t, toleration_seconds=None) for t in new.spec.tolerations]
        if any(replace(t, toleration_seconds=None) not in kept for t in old.spec.tolerations):
            yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")

    def validate_status(self, new: core_v1.Pod, old: core_v1.Pod) -> Iterator[FieldError]:
        """One address that is none would make the endpoints of all its services invalid."""
        status = new.status
        for path, address in (
            ("podIP", status.pod_ip),
            *((f"podIPs[{i}].ip", one.ip) for i, one in enumerate(status.pod_ips)),
            ("hostIP", status.host_ip),
            *((f"hostIPs[{i}].ip", one.ip) for i, one in enumerate(status.host_ips)),
        ):
            if address:
                yield from address_faults(f"status.{path}", address)

    def grace_seconds(self, obj: core_v1.Pod, asked: int | None) -> int:
        """Unscheduled and finished pods have no node that must let go of them."""
        if not obj.spec.node_name or obj.status.phase in ("Succeeded", "Failed"):
            return 0
        if asked is not None:
            return max(0, asked)
        grace = obj.spec.termination_grace_period_seconds
        return 30 if grace is None else max(1, grace) if grace else 0


_defaulted = by_identity()(default_pod_spec)


@by_identity()
def _faults(spec: core_v1.PodSpec) -> tuple[FieldError, ...]:
    return tuple(pod_spec_faults(spec, "spec"))


def _admitted(
    spec: core_v1.PodSpec,
    account: core_v1.ServiceAccount | None,
    found: scheduling_v1.PriorityClass | None,
    ca: bool,
    suffix: Callable[[], str],
) -> core_v1.Pod:
    """A new pod's spec and status."""
    name = spec.service_account_name or "default"
    tolerations = with_default_tolerations(spec.tolerations)
    spec = replace(spec, service_account_name=name, service_account=name, tolerations=tolerations)
    spec = with_priority(spec, found)
    if account is not None:
        spec = with_account(spec, account, suffix, ca)
    return core_v1.Pod(spec=spec, status=core_v1.PodStatus(phase="Pending", qos_class=qos_class(spec)))


def with_default_tolerations(tolerations: list[core_v1.Toleration]) -> list[core_v1.Toleration]:
    added = [
        core_v1.Toleration(key=key, operator="Exists", effect="NoExecute", toleration_seconds=EVICT_AFTER)
        for key in (NOT_READY, UNREACHABLE)
        if not any(
            (t.key == key or (not t.key and t.operator == "Exists")) and t.effect in ("", "NoExecute")
            for t in tolerations
        )
    ]
    return [*tolerations, *added]


def qos_class(spec: core_v1.PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort, from CPU and memory alone."""
    some, all_equal = False, True
    for container in (*spec.init_containers, *spec.containers):
        requests, limits = container.resources.requests, container.resources.limits
        for name in ("cpu", "memory"):
            request, limit = requests.get(name), limits.get(name)
            limited = limit is not None and parse(limit).numerator > 0
            some = some or limited or (request is not None and parse(request).numerator > 0)
            same = request is None or request == limit or (limit is not None and parse(request) == parse(limit))
            all_equal = all_equal and limited and same
    if not some:
        return "BestEffort"
    return "Guaranteed" if all_equal else "Burstable"
