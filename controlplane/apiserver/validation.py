"""Rules that many kinds share, with the messages that Kubernetes users know. Source: RFC 1123, API conventions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from kubeapi.errors import FieldError
from kubeapi.remembered import by_identity, by_text
from kubeapi.schema import FieldInfo, descriptor_of, fields_of, reader
from kubeapi.types import core_v1, meta_v1

_LABEL = r"[a-z0-9]++(?:-++[a-z0-9]++)*+"  # possessive: no way leads back
LABEL = re.compile(_LABEL)
SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")
ANNOTATIONS_MOST = 256 * 1024


def required(path: str, message: str = "") -> FieldError:
    return FieldError(path, f"Required value{': ' + message if message else ''}", reason="FieldValueRequired")


def invalid(path: str, value: Any, message: str) -> FieldError:
    shown = msgspec.json.encode(value).decode()[:200]
    return FieldError(path, f"Invalid value: {shown}: {message}", reason="FieldValueInvalid")


def forbidden(path: str, message: str) -> FieldError:
    return FieldError(path, f"Forbidden: {message}", reason="FieldValueForbidden")


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(path, f"Duplicate value: {msgspec.json.encode(value).decode()}", reason="FieldValueDuplicate")


def unsupported(path: str, value: Any, allowed: Iterable[str]) -> FieldError:
    names = ", ".join(f'"{name}"' for name in sorted(allowed))
    return FieldError(path, f'Unsupported value: "{value}": supported values: {names}', reason="FieldValueNotSupported")


def immutable(path: str, new: Any, old: Any) -> Iterator[FieldError]:
    if new != old:
        yield invalid(path, msgspec.to_builtins(new), "field is immutable")


# ------------------------------------------------------------------ names and labels


def name_faults(path: str, name: str, rule: str) -> Iterator[FieldError]:
    if rule == "path":
        if name in (".", "..") or "/" in name or "%" in name:
            yield invalid(path, name, "must not be '.', '..', nor contain '/' or '%'")
    elif rule == "label":
        if len(name) > 63 or not LABEL.fullmatch(name):
            yield invalid(
                path,
                name,
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                "and end with an alphanumeric character, and be at most 63 characters long",
            )
    elif len(name) > 253 or not SUBDOMAIN.fullmatch(name):
        yield invalid(
            path,
            name,
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character, and be at most 253 characters long",
        )


@by_text(4096)
def _is_key(key: str) -> bool:
    """Remembered, as the next: objects by the thousand carry the same labels."""
    prefix, slash, name = key.rpartition("/")
    return len(name) <= 63 and bool(QUALIFIED.fullmatch(name)) and not (slash and not SUBDOMAIN.fullmatch(prefix))


@by_text(4096)
def _is_label_value(value: str) -> bool:
    return len(value) <= 63 and bool(LABEL_VALUE.fullmatch(value))


def key_faults(path: str, key: str) -> Iterator[FieldError]:
    if not _is_key(key):
        yield invalid(
            path,
            key,
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character, at most 63 of them, after an optional DNS subdomain and '/'",
        )


def label_faults(path: str, labels: Mapping[str, str]) -> Iterator[FieldError]:
    for key, value in labels.items():
        if not _is_key(key):
            yield from key_faults(path, key)
        if not _is_label_value(value):
            yield invalid(
                path,
                value,
                "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and "
                "must start and end with an alphanumeric character, and be at most 63 characters long",
            )


def metadata_faults(obj: Any, *, namespaced: bool, rule: str) -> Iterator[FieldError]:
    metadata = obj.metadata
    if not metadata.name:
        yield required("metadata.name", "name or generateName is required")
    else:
        yield from name_faults("metadata.name", metadata.name, rule)
    if namespaced and not metadata.namespace:
        yield required("metadata.namespace")
    if not namespaced and metadata.namespace:
        yield forbidden("metadata.namespace", "not allowed on this type")
    if metadata.labels:
        yield from label_faults("metadata.labels", metadata.labels)
    if metadata.annotations:
        yield from _annotation_faults(metadata.annotations)
    if metadata.owner_references:
        yield from _owner_faults(metadata.owner_references)
    for i, finalizer in enumerate(metadata.finalizers):
        yield from key_faults(f"metadata.finalizers[{i}]", finalizer)


def _annotation_faults(annotations: Mapping[str, str]) -> Iterator[FieldError]:
    for key in annotations:
        yield from key_faults("metadata.annotations", key.lower())
    if sum(len(k) + len(v) for k, v in annotations.items()) > ANNOTATIONS_MOST:
        yield FieldError("metadata.annotations", f"Too long: may not be more than {ANNOTATIONS_MOST} bytes")


def _owner_faults(owners: Sequence[meta_v1.OwnerReference]) -> Iterator[FieldError]:
    for i, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{i}]"
        for field, value in (("apiVersion", owner.api_version), ("kind", owner.kind), ("name", owner.name)):
            if not value:
                yield required(f"{path}.{field}")
        if not owner.uid:
            yield required(f"{path}.uid")
    if sum(1 for owner in owners if owner.controller) > 1:
        yield invalid("metadata.ownerReferences", len(owners), "only one may be the controller")


# ------------------------------------------------------------------ structure, from the schema


def structural_faults(obj: Any) -> Iterator[FieldError]:
    """Values outside a field's allowed ones, anywhere in the object. Nearly always there are none, and paths cost time."""
    if not _fits(obj):
        yield from _walk(obj, "")


def _fits(value: Any) -> bool:
    return _shared_fits(value) if type(value) is core_v1.PodSpec else _all_fit(value)


def _all_fit(value: Any) -> bool:
    read, infos = _limited(type(value))
    for inner, info in zip(read(value), infos, strict=True):
        if not inner:
            continue
        if info.one_of:
            if isinstance(inner, str) and inner not in info.one_of:
                return False
        elif info.map:
            if not all(map(_fits, inner.values())):
                return False
        elif info.repeated:
            if not all(map(_fits, inner)):
                return False
        elif not _fits(inner):
            return False
    return True


_shared_fits = by_identity()(_all_fit)
"""Of what many objects have in common."""

_Limited = tuple[Callable[[Any], Sequence[Any]], Sequence[FieldInfo]]
_LIMITED: dict[Any, _Limited] = {}
"""By type: the fields that have, or below which there are, such with allowed values, and what reads them all at once.
Made when first asked for."""


def _limited(type_: Any) -> _Limited:
    found = _LIMITED.get(type_)
    if found is None:
        infos = [f for f in fields_of(descriptor_of(type_)).values() if _is_limited(f, frozenset())]
        found = _LIMITED[type_] = reader([info.attribute for info in infos]), infos
    return found


def _is_limited(info: FieldInfo, above: frozenset[str]) -> bool:
    if info.one_of or info.message is None:
        return bool(info.one_of)
    name = info.message.full_name
    inner = fields_of(info.message).values()
    return name not in above and any(_is_limited(one, above | {name}) for one in inner)


def _walk(value: Any, path: str) -> Iterator[FieldError]:
    read, infos = _limited(type(value))
    for inner, info in zip(read(value), infos, strict=True):
        if not inner:
            continue
        where = f"{path}.{info.json_name}" if path else info.json_name
        if info.one_of and isinstance(inner, str) and inner not in info.one_of:
            yield unsupported(where, inner, info.one_of)
        elif info.message is not None:
            if info.map:
                for key, one in inner.items():
                    yield from _walk(one, f"{where}[{key}]")
            elif info.repeated:
                for i, one in enumerate(inner):
                    yield from _walk(one, f"{where}[{i}]")
            else:
                yield from _walk(inner, where)
