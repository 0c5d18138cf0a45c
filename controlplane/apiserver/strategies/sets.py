"""StatefulSets and DaemonSets: what they have beyond a selector and a template."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.apiserver.strategies.workload import WorkloadStrategy
from controlplane.apiserver.validation import count_faults, forbidden, invalid, unsupported
from kubeapi.errors import FieldError
from kubeapi.meta import replace
from kubeapi.types import apps_v1

KEEP = ("Retain", "Delete")
UPDATES = ("RollingUpdate", "OnDelete")


class StatefulSetStrategy(WorkloadStrategy):
    def default(self, obj: apps_v1.StatefulSet) -> apps_v1.StatefulSet:
        obj = super().default(obj)
        spec, update = obj.spec, obj.spec.update_strategy
        kind = update.type or "RollingUpdate"
        rolling = update.rolling_update
        if kind == "RollingUpdate":
            rolling = rolling or apps_v1.RollingUpdateStatefulSetStrategy()
            rolling = replace(rolling, partition=rolling.partition or 0)
        keep = (
            spec.persistent_volume_claim_retention_policy or apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy()
        )
        keep = replace(keep, when_deleted=keep.when_deleted or "Retain", when_scaled=keep.when_scaled or "Retain")
        claims = [
            replace(
                c,
                api_version="v1",
                kind="PersistentVolumeClaim",
                spec=replace(c.spec, volume_mode=c.spec.volume_mode or "Filesystem"),
            )
            for c in spec.volume_claim_templates
        ]
        return replace(
            obj,
            spec=replace(
                spec,
                update_strategy=replace(update, type=kind, rolling_update=rolling),
                pod_management_policy=spec.pod_management_policy or "OrderedReady",
                persistent_volume_claim_retention_policy=keep,
                volume_claim_templates=claims,
            ),
        )

    def validate(self, obj: apps_v1.StatefulSet) -> Iterator[FieldError]:
        yield from super().validate(obj)
        spec = obj.spec
        if spec.pod_management_policy not in ("OrderedReady", "Parallel"):
            yield unsupported("spec.podManagementPolicy", spec.pod_management_policy, ("OrderedReady", "Parallel"))
        if spec.update_strategy.type not in UPDATES:
            yield unsupported("spec.updateStrategy.type", spec.update_strategy.type, UPDATES)
        rolling = spec.update_strategy.rolling_update
        if rolling is not None and (rolling.partition or 0) < 0:
            yield invalid("spec.updateStrategy.rollingUpdate.partition", rolling.partition, "must not be negative")
        if rolling is not None:
            path = "spec.updateStrategy.rollingUpdate.maxUnavailable"
            yield from count_faults(path, rolling.max_unavailable, most=100)
            if rolling.max_unavailable in (0, "0%"):
                yield invalid(path, rolling.max_unavailable, "cannot be 0")
        keep = spec.persistent_volume_claim_retention_policy
        for name, value in (("whenDeleted", keep.when_deleted), ("whenScaled", keep.when_scaled)) if keep else ():
            if value not in KEEP:
                yield unsupported(f"spec.persistentVolumeClaimRetentionPolicy.{name}", value, KEEP)
        if spec.ordinals is not None and spec.ordinals.start < 0:
            yield invalid("spec.ordinals.start", spec.ordinals.start, "must be greater than or equal to 0")

    def validate_update(self, new: apps_v1.StatefulSet, old: apps_v1.StatefulSet) -> Iterator[FieldError]:
        def fixed(spec: apps_v1.StatefulSetSpec) -> apps_v1.StatefulSetSpec:
            blank = apps_v1.StatefulSetSpec()
            return replace(
                spec,
                replicas=None,
                template=blank.template,
                update_strategy=blank.update_strategy,
                revision_history_limit=None,
                min_ready_seconds=0,
                ordinals=None,
                persistent_volume_claim_retention_policy=None,
            )

        if fixed(new.spec) != fixed(old.spec):
            yield forbidden(
                "spec",
                "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
                "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                "'minReadySeconds' are forbidden",
            )


class DaemonSetStrategy(WorkloadStrategy):
    def default(self, obj: apps_v1.DaemonSet) -> apps_v1.DaemonSet:
        obj = super().default(obj)
        update = obj.spec.update_strategy
        kind, rolling = update.type or "RollingUpdate", update.rolling_update
        if kind == "RollingUpdate":
            rolling = rolling or apps_v1.RollingUpdateDaemonSet()
            surge = 0 if rolling.max_surge is None else rolling.max_surge
            most = (0 if surge else 1) if rolling.max_unavailable is None else rolling.max_unavailable
            rolling = replace(rolling, max_unavailable=most, max_surge=surge)
        return replace(obj, spec=replace(obj.spec, update_strategy=replace(update, type=kind, rolling_update=rolling)))

    def validate(self, obj: apps_v1.DaemonSet) -> Iterator[FieldError]:
        yield from super().validate(obj)
        update, path = obj.spec.update_strategy, "spec.updateStrategy"
        if update.type not in UPDATES:
            yield unsupported(f"{path}.type", update.type, UPDATES)
        rolling = update.rolling_update
        if rolling is not None:
            yield from count_faults(f"{path}.rollingUpdate.maxSurge", rolling.max_surge, most=100)
            yield from count_faults(f"{path}.rollingUpdate.maxUnavailable", rolling.max_unavailable, most=100)
        if rolling is not None and rolling.max_surge in (0, "0%") and rolling.max_unavailable in (0, "0%"):
            yield invalid(f"{path}.rollingUpdate.maxUnavailable", 0, "may not be 0 when `maxSurge` is 0")
        if rolling is not None and rolling.max_surge not in (0, "0%") and rolling.max_unavailable not in (0, "0%"):
            yield invalid(f"{path}.rollingUpdate.maxSurge", rolling.max_surge, "may not be set when maxUnavailable is")
