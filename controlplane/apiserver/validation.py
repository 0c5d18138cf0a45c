"""Rules that many kinds share, with the messages that Kubernetes users know. Source: RFC 1123, API conventions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from kubeapi.errors import FieldError
from kubeapi.remembered import by_text
from kubeapi.types import meta_v1

_LABEL = r"[a-z0-9]++(?:-++[a-z0-9]++)*+"  # possessive: no way leads back
LABEL = re.compile(_LABEL)
SUBDOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*+")
QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
PERCENT = re.compile(r"\d+%", re.ASCII)
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
            yield from label_value_faults(path, value)


def label_value_faults(path: str, value: str) -> Iterator[FieldError]:
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


# ------------------------------------------------------------------ values


def count_faults(path: str, value: int | str | None, *, most: int | None = None) -> Iterator[FieldError]:
    """A number of objects, or a percentage of them: at most `most` percent."""
    if isinstance(value, str):
        if not PERCENT.fullmatch(value):
            yield invalid(path, value, "a valid percent string must be a numeric string followed by an ending '%'")
        elif len(value) > 9 or (most is not None and int(value[:-1]) > most):
            yield invalid(path, value, f"must not be greater than {most or 99_999_999}%")
    elif value is not None and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def address_faults(path: str, value: str) -> Iterator[FieldError]:
    """Zones ("fe80::1%eth0") are refused, too: what follows the % may be any text."""
    try:
        valid = "%" not in value and bool(ipaddress.ip_address(value))
    except ValueError:
        valid = False
    if not valid:
        yield invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")


def network_faults(path: str, value: str, *, strict: bool = True) -> Iterator[FieldError]:
    """`strict`: no bits may be set beyond the prefix."""
    try:
        valid = "%" not in value and bool(ipaddress.ip_network(value, strict))
    except ValueError:
        valid = False
    if not valid:
        yield invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")
