"""What `apply` and `diff` share: from a manifest and the live object to the object that should be there."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from kubeapi.scheme import Resource
from kubectl_lite.manifests import Manifest
from kubectl_lite.merge3 import merge

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def with_last_applied(obj: Object) -> Object:
    metadata = dict(obj["metadata"])
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    plain = obj | {"metadata": metadata | {"annotations": annotations}}
    record = json.dumps(plain, separators=(",", ":"), sort_keys=True, default=str) + "\n"
    return obj | {"metadata": metadata | {"annotations": annotations | {LAST_APPLIED: record}}}


def three_way(manifest: Manifest, wanted: Object, live: Object) -> Object:
    record = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "{}")
    try:
        last = json.loads(record)
    except ValueError:
        last = {}
    merged: Object = merge(last, wanted, live, merge_keys(manifest.resource))
    return merged


def merge_keys(resource: Resource) -> Callable[[tuple[str, ...]], str]:
    """Lists of kinds that the schema does not know are taken whole, as a JSON merge patch would."""
    if not resource.module:
        return lambda path: ""
    from kubeapi.patch import merge_key_of

    type_ = resource.type
    return lambda path: merge_key_of(type_, path)


def never_applied(live: Object) -> bool:
    return LAST_APPLIED not in (live.get("metadata", {}).get("annotations") or {})
