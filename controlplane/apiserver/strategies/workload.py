"""Deployments, ReplicaSets, and their relatives with a selector and a pod template."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from controlplane.apiserver.strategies.pod_defaults import default_template
from controlplane.apiserver.strategies.pod_validation import pod_spec_faults
from controlplane.apiserver.strategy import METADATA_FIELDS, Strategy
from controlplane.apiserver.validation import count_faults, immutable, invalid, label_faults, required, unsupported
from kubeapi.errors import ApiError, FieldError
from kubeapi.meta import replace
from kubeapi.selectors import label_query
from kubeapi.types import apps_v1


class WorkloadStrategy(Strategy):
    """spec.selector, spec.template, spec.replicas; what apps/v1 kinds have in common."""

    def default(self, obj: Any) -> Any:
        spec = replace(obj.spec, template=default_template(obj.spec.template))
        if hasattr(spec, "replicas") and spec.replicas is None:
            spec = replace(spec, replicas=1)
        if hasattr(spec, "revision_history_limit") and spec.revision_history_limit is None:
            spec = replace(spec, revision_history_limit=10)
        return replace(obj, spec=spec)

    def validate(self, obj: Any) -> Iterator[FieldError]:
        spec = obj.spec
        replicas = getattr(spec, "replicas", None)
        if replicas is not None and replicas < 0:
            yield invalid("spec.replicas", replicas, "must be greater than or equal to 0")
        if getattr(spec, "min_ready_seconds", 0) < 0:
            yield invalid("spec.minReadySeconds", spec.min_ready_seconds, "must be greater than or equal to 0")
        if spec.selector is None:
            yield required("spec.selector")
        else:
            yield from self._selector(spec)
        yield from label_faults("spec.template.metadata.labels", spec.template.metadata.labels)
        claims = [claim.metadata.name for claim in getattr(spec, "volume_claim_templates", ())]
        yield from pod_spec_faults(spec.template.spec, "spec.template.spec", claims=claims)
        if spec.template.spec.restart_policy != "Always":
            yield unsupported("spec.template.spec.restartPolicy", spec.template.spec.restart_policy, ["Always"])

    def _selector(self, spec: Any) -> Iterator[FieldError]:
        try:
            query = label_query(spec.selector)
        except ApiError:
            return  # what is wrong in it has been told: structural_faults
        if not query:
            yield invalid("spec.selector", {}, "empty selector is invalid: it would choose every pod")
        elif not query.matches(spec.template.metadata.labels):
            yield invalid(
                "spec.template.metadata.labels",
                spec.template.metadata.labels,
                "`selector` does not match template `labels`",
            )

    def validate_update(self, new: Any, old: Any) -> Iterator[FieldError]:
        yield from immutable("spec.selector", new.spec.selector, old.spec.selector)


class ReplicaSetStrategy(WorkloadStrategy):
    fields: ClassVar = {**METADATA_FIELDS, "status.replicas": lambda o: str(o.status.replicas)}


class DeploymentStrategy(WorkloadStrategy):
    def default(self, obj: apps_v1.Deployment) -> apps_v1.Deployment:
        obj = super().default(obj)
        spec, strategy = obj.spec, obj.spec.strategy
        kind = strategy.type or "RollingUpdate"
        rolling = strategy.rolling_update
        if kind == "RollingUpdate":
            rolling = rolling or apps_v1.RollingUpdateDeployment()
            rolling = replace(
                rolling,
                max_surge="25%" if rolling.max_surge is None else rolling.max_surge,
                max_unavailable="25%" if rolling.max_unavailable is None else rolling.max_unavailable,
            )
        deadline = 600 if spec.progress_deadline_seconds is None else spec.progress_deadline_seconds
        return replace(
            obj,
            spec=replace(
                spec,
                strategy=replace(strategy, type=kind, rolling_update=rolling),
                progress_deadline_seconds=deadline,
            ),
        )

    def validate(self, obj: apps_v1.Deployment) -> Iterator[FieldError]:
        yield from super().validate(obj)
        strategy, path = obj.spec.strategy, "spec.strategy"
        if strategy.type not in ("Recreate", "RollingUpdate"):
            yield unsupported(f"{path}.type", strategy.type, ("Recreate", "RollingUpdate"))
        rolling = strategy.rolling_update
        if strategy.type == "Recreate" and rolling is not None:
            yield FieldError(
                f"{path}.rollingUpdate",
                "Forbidden: may not be specified when strategy `type` is 'Recreate'",
                reason="FieldValueForbidden",
            )
        elif rolling is not None:
            yield from count_faults(f"{path}.rollingUpdate.maxSurge", rolling.max_surge)
            yield from count_faults(f"{path}.rollingUpdate.maxUnavailable", rolling.max_unavailable, most=100)
            if rolling.max_surge in (0, "0%") and rolling.max_unavailable in (0, "0%"):
                yield invalid(f"{path}.rollingUpdate.maxUnavailable", 0, "may not be 0 when `maxSurge` is 0")
        deadline = obj.spec.progress_deadline_seconds
        if deadline is not None and deadline <= obj.spec.min_ready_seconds:
            yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
