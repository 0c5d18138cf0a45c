"""PersistentVolumes, their claims, and storage classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from controlplane.apiserver.strategy import Strategy
from controlplane.apiserver.validation import forbidden, invalid, required, unsupported
from kubeapi.errors import ApiError, FieldError
from kubeapi.meta import replace
from kubeapi.quantity import canonical, parse
from kubeapi.types import core_v1, storage_v1

MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
PVC_PROTECTION = "kubernetes.io/pvc-protection"
PV_PROTECTION = "kubernetes.io/pv-protection"


def _canonical(amounts: dict[str, Any]) -> dict[str, Any]:
    try:
        return {k: canonical(v) for k, v in amounts.items()}
    except ApiError:
        return amounts  # validate names the fault


def _with_finalizer(obj: Any, finalizer: str) -> Any:
    if finalizer in obj.metadata.finalizers:
        return obj
    return replace(obj, metadata=replace(obj.metadata, finalizers=[*obj.metadata.finalizers, finalizer]))


def _capacity(amounts: dict[str, Any], path: str) -> Iterator[FieldError]:
    if "storage" not in amounts:
        yield required(f"{path}[storage]")
        return
    try:
        if parse(amounts["storage"]) <= 0:
            yield invalid(f"{path}[storage]", amounts["storage"], "must be greater than zero")
    except ApiError as error:
        yield invalid(f"{path}[storage]", amounts["storage"], str(error))


def _modes(modes: list[str], path: str) -> Iterator[FieldError]:
    if not modes:
        yield required(path, "at least 1 access mode is required")
    for mode in modes:
        if mode not in MODES:
            yield unsupported(path, mode, MODES)


class PersistentVolumeStrategy(Strategy):
    def default(self, obj: core_v1.PersistentVolume) -> core_v1.PersistentVolume:
        spec = obj.spec
        return replace(
            obj,
            spec=replace(
                spec,
                capacity=_canonical(spec.capacity),
                persistent_volume_reclaim_policy=spec.persistent_volume_reclaim_policy or "Retain",
                volume_mode=spec.volume_mode or "Filesystem",
            ),
        )

    def prepare_create(self, obj: core_v1.PersistentVolume) -> core_v1.PersistentVolume:
        return _with_finalizer(replace(obj, status=core_v1.PersistentVolumeStatus(phase="Pending")), PV_PROTECTION)  # type: ignore[no-any-return]

    def validate(self, obj: core_v1.PersistentVolume) -> Iterator[FieldError]:
        yield from _capacity(obj.spec.capacity, "spec.capacity")
        yield from _modes(obj.spec.access_modes, "spec.accessModes")
        if obj.spec.persistent_volume_reclaim_policy not in ("Retain", "Delete", "Recycle"):
            yield unsupported(
                "spec.persistentVolumeReclaimPolicy",
                obj.spec.persistent_volume_reclaim_policy,
                ("Retain", "Delete", "Recycle"),
            )


class PersistentVolumeClaimStrategy(Strategy):
    def __init__(self, default_class: Callable[[], str]) -> None:
        self._default_class = default_class

    def default(self, obj: core_v1.PersistentVolumeClaim) -> core_v1.PersistentVolumeClaim:
        spec = obj.spec
        requests = _canonical(spec.resources.requests)
        return replace(
            obj,
            spec=replace(
                spec,
                resources=replace(spec.resources, requests=requests),
                volume_mode=spec.volume_mode or "Filesystem",
            ),
        )

    def prepare_create(self, obj: core_v1.PersistentVolumeClaim) -> core_v1.PersistentVolumeClaim:
        spec = obj.spec
        if spec.storage_class_name is None and (name := self._default_class()):
            spec = replace(spec, storage_class_name=name)
        obj = replace(obj, spec=spec, status=core_v1.PersistentVolumeClaimStatus(phase="Pending"))
        return _with_finalizer(obj, PVC_PROTECTION)  # type: ignore[no-any-return]

    def validate(self, obj: core_v1.PersistentVolumeClaim) -> Iterator[FieldError]:
        yield from _modes(obj.spec.access_modes, "spec.accessModes")
        yield from _capacity(obj.spec.resources.requests, "spec.resources")

    def validate_update(
        self, new: core_v1.PersistentVolumeClaim, old: core_v1.PersistentVolumeClaim
    ) -> Iterator[FieldError]:
        def neutral(spec: core_v1.PersistentVolumeClaimSpec) -> core_v1.PersistentVolumeClaimSpec:
            return replace(
                spec,
                volume_name="",
                resources=core_v1.VolumeResourceRequirements(),
                volume_attributes_class_name=None,
                storage_class_name=spec.storage_class_name if old.spec.storage_class_name is not None else None,
            )

        if neutral(new.spec) != neutral(old.spec) or (
            old.spec.volume_name and new.spec.volume_name != old.spec.volume_name
        ):
            yield forbidden(
                "spec",
                "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims",
            )
        if new.spec.resources.requests.get("storage") != old.spec.resources.requests.get("storage"):
            yield forbidden(
                "spec.resources.requests.storage",
                "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
                "support resize; no volume of this cluster can be resized",
            )


class StorageClassStrategy(Strategy):
    def default(self, obj: storage_v1.StorageClass) -> storage_v1.StorageClass:
        return replace(
            obj,
            reclaim_policy=obj.reclaim_policy or "Delete",
            volume_binding_mode=obj.volume_binding_mode or "Immediate",
        )

    def validate(self, obj: storage_v1.StorageClass) -> Iterator[FieldError]:
        if not obj.provisioner:
            yield required("provisioner")
        if obj.volume_binding_mode not in ("Immediate", "WaitForFirstConsumer"):
            yield unsupported("volumeBindingMode", obj.volume_binding_mode, ("Immediate", "WaitForFirstConsumer"))

    def validate_update(self, new: storage_v1.StorageClass, old: storage_v1.StorageClass) -> Iterator[FieldError]:
        for field in ("provisioner", "parameters", "reclaim_policy", "volume_binding_mode"):
            if getattr(new, field) != getattr(old, field):
                yield forbidden(field, "updates to it are forbidden")
