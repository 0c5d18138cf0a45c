"""Which groups, versions and resources there are, in the three forms that clients ask for.

Legacy: APIVersions (/api), APIGroupList (/apis), APIResourceList (/api/v1, /apis/G/V). Aggregated (KEP-3352): one
APIGroupDiscoveryList each for /api and /apis, v2 and v2beta1 alike but for their name. All are pure functions of the
scheme, so they are made once and kept as bytes.
"""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from kubeapi.scheme import SCHEME, Resource

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
CREATE_ONLY = {
    "tokenreviews",
    "selfsubjectreviews",
    "subjectaccessreviews",
    "selfsubjectaccessreviews",
    "localsubjectaccessreviews",
    "selfsubjectrulesreviews",
}
HIDDEN = {"evictions"}
"""In the schema, but no resource of their own."""
READ_ONLY_GROUPS = {"metrics.k8s.io"}
PREFERRED = {"autoscaling": "v2"}


class Subresource(msgspec.Struct, frozen=True):
    name: str
    group: str
    version: str
    kind: str
    verbs: list[str]


_WRITES = ["get", "patch", "update"]
_POD_SUBRESOURCES = (
    Subresource("attach", "", "v1", "PodAttachOptions", ["create", "get"]),
    Subresource("binding", "", "v1", "Binding", ["create"]),
    Subresource("eviction", "policy", "v1", "Eviction", ["create"]),
    Subresource("exec", "", "v1", "PodExecOptions", ["create", "get"]),
    Subresource("log", "", "v1", "Pod", ["get"]),
    Subresource("portforward", "", "v1", "PodPortForwardOptions", ["create", "get"]),
)


def served() -> list[Resource]:
    """In the order of their names: clients show `get all` in the order of discovery."""
    return sorted((r for r in SCHEME.resources if r.plural not in HIDDEN), key=lambda r: r.plural)


def verbs_of(resource: Resource) -> list[str]:
    if resource.group in READ_ONLY_GROUPS:
        return ["get", "list"]
    return ["create"] if resource.plural in CREATE_ONLY else VERBS


def subresources_of(resource: Resource) -> list[Subresource]:
    if resource.plural in CREATE_ONLY:
        return []
    found: list[Subresource] = []
    if resource.qualified == "pods":
        found += _POD_SUBRESOURCES
    if resource.qualified == "namespaces":
        found.append(Subresource("finalize", "", "v1", "Namespace", ["update"]))
    if resource.scale:
        found.append(Subresource("scale", "autoscaling", "v1", "Scale", _WRITES))
    if resource.status:
        found.append(Subresource("status", resource.group, resource.version, resource.kind, _WRITES))
    return found


def _bytes(value: Any) -> bytes:
    return msgspec.json.encode(value)


# ------------------------------------------------------------------ legacy


@functools.cache
def api_versions(address: str) -> bytes:
    """GET /api."""
    return _bytes(
        {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
        }
    )


def _versions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for r in served():
        versions = found.setdefault(r.group, [])
        if r.version not in versions:
            versions.append(r.version)
    return {
        group: sorted(versions, key=lambda v: (v != PREFERRED.get(group, versions[0]), v))
        for group, versions in sorted(found.items())
    }


def _group(group: str, versions: list[str]) -> dict[str, Any]:
    entries = [{"groupVersion": f"{group}/{v}", "version": v} for v in versions]
    return {"name": group, "versions": entries, "preferredVersion": entries[0]}


@functools.cache
def api_groups() -> bytes:
    """GET /apis."""
    groups = [_group(group, versions) for group, versions in _versions().items() if group]
    return _bytes({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})


@functools.cache
def api_group(group: str) -> bytes | None:
    """GET /apis/G; None for a group that is not served."""
    versions = _versions().get(group) if group else None
    return _bytes({"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions)}) if versions else None


@functools.cache
def api_resources(group: str, version: str) -> bytes | None:
    """GET /api/v1 and /apis/G/V; None for what is not served."""
    rows: list[dict[str, Any]] = []
    for r in served():
        if (r.group, r.version) != (group, version):
            continue
        row: dict[str, Any] = {
            "name": r.plural,
            "singularName": r.singular,
            "namespaced": r.namespaced,
            "kind": r.kind,
            "verbs": verbs_of(r),
        }
        if r.short:
            row["shortNames"] = list(r.short)
        if r.categories:
            row["categories"] = list(r.categories)
        rows.append(row)
        for sub in subresources_of(r):
            entry: dict[str, Any] = {
                "name": f"{r.plural}/{sub.name}",
                "singularName": "",
                "namespaced": r.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            }
            if (sub.group, sub.version) != (group, version):
                entry |= {"group": sub.group, "version": sub.version}
            rows.append(entry)
    if not rows:
        return None
    name = f"{group}/{version}" if group else version
    return _bytes({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": rows})


# ------------------------------------------------------------------ aggregated


@functools.cache
def aggregated(core: bool, version: str) -> bytes:
    """GET /api (core) or /apis with Accept ...;as=APIGroupDiscoveryList; version is v2 or v2beta1."""
    items = []
    for group, versions in _versions().items():
        if (group == "") != core:
            continue
        items.append(
            {
                "metadata": {"name": group or None, "creationTimestamp": None},
                "versions": [
                    {"version": v, "freshness": "Current", "resources": _aggregated_resources(group, v)}
                    for v in versions
                ],
            }
        )
    return _bytes(
        {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }
    )


def _aggregated_resources(group: str, version: str) -> list[dict[str, Any]]:
    rows = []
    for r in served():
        if (r.group, r.version) != (group, version):
            continue
        row: dict[str, Any] = {
            "resource": r.plural,
            "responseKind": {"group": r.group, "version": r.version, "kind": r.kind},
            "scope": "Namespaced" if r.namespaced else "Cluster",
            "singularResource": r.singular,
            "verbs": verbs_of(r),
        }
        if r.short:
            row["shortNames"] = list(r.short)
        if r.categories:
            row["categories"] = list(r.categories)
        subs = [
            {
                "subresource": s.name,
                "responseKind": {"group": s.group, "version": s.version, "kind": s.kind},
                "verbs": s.verbs,
            }
            for s in subresources_of(r)
        ]
        if subs:
            row["subresources"] = subs
        rows.append(row)
    return rows
