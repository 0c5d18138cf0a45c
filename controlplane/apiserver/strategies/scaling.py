"""Autoscalers, disruption budgets and priority classes."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import count_faults, forbidden, immutable, invalid, required, unsupported
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.types import autoscaling_v2, policy_v1, scheduling_v1

METRICS = ("ContainerResource", "External", "Object", "Pods", "Resource")
HIGHEST = 1_000_000_000
"""Of a priority that a user may define; above are the system's own."""


class AutoscalerStrategy(Strategy):
    def default(self, obj: autoscaling_v2.HorizontalPodAutoscaler) -> autoscaling_v2.HorizontalPodAutoscaler:
        spec = obj.spec
        target = autoscaling_v2.MetricTarget(type="Utilization", average_utilization=80)
        cpu = autoscaling_v2.MetricSpec(
            type="Resource", resource=autoscaling_v2.ResourceMetricSource(name="cpu", target=target)
        )
        low = 1 if spec.min_replicas is None else spec.min_replicas
        return replace(obj, spec=replace(spec, min_replicas=low, metrics=spec.metrics or [cpu]))

    def validate(self, obj: autoscaling_v2.HorizontalPodAutoscaler) -> Iterator[FieldError]:
        spec, ref = obj.spec, obj.spec.scale_target_ref
        for name, value in (("kind", ref.kind), ("name", ref.name)):
            if not value:
                yield required(f"spec.scaleTargetRef.{name}")
        low = spec.min_replicas if spec.min_replicas is not None else 1
        if low < 1:
            yield invalid("spec.minReplicas", low, "must be greater than or equal to 1")
        if spec.max_replicas < 1:
            yield invalid("spec.maxReplicas", spec.max_replicas, "must be greater than 0")
        elif spec.max_replicas < low:
            yield invalid("spec.maxReplicas", spec.max_replicas, "must be greater than or equal to `minReplicas`")
        for i, metric in enumerate(spec.metrics):
            if metric.type not in METRICS:
                yield unsupported(f"spec.metrics[{i}].type", metric.type, METRICS)


class BudgetStrategy(Strategy):
    def validate(self, obj: policy_v1.PodDisruptionBudget) -> Iterator[FieldError]:
        spec = obj.spec
        if spec.min_available is not None and spec.max_unavailable is not None:
            yield invalid("spec", {}, "minAvailable and maxUnavailable cannot be both set")
        for name, value in (("minAvailable", spec.min_available), ("maxUnavailable", spec.max_unavailable)):
            yield from count_faults(f"spec.{name}", value, most=100)
        policy = spec.unhealthy_pod_eviction_policy
        if policy is not None and policy not in ("AlwaysAllow", "IfHealthyBudget"):
            yield unsupported("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))


class PriorityClassStrategy(Strategy):
    def default(self, obj: scheduling_v1.PriorityClass) -> scheduling_v1.PriorityClass:
        return replace(obj, preemption_policy=obj.preemption_policy or "PreemptLowerPriority")

    def validate(self, obj: scheduling_v1.PriorityClass) -> Iterator[FieldError]:
        if obj.value > HIGHEST and not obj.metadata.name.startswith("system-"):
            yield forbidden("value", f"maximum allowed value of a user defined priority is {HIGHEST}")
        if obj.preemption_policy not in ("Never", "PreemptLowerPriority"):
            yield unsupported("preemptionPolicy", obj.preemption_policy, ("Never", "PreemptLowerPriority"))

    def validate_update(
        self, new: scheduling_v1.PriorityClass, old: scheduling_v1.PriorityClass
    ) -> Iterator[FieldError]:
        yield from immutable("value", new.value, old.value)
        yield from immutable("preemptionPolicy", new.preemption_policy, old.preemption_policy)
