"""Claims, volumes and storage classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from kubectl_lite.describe.lines import NONE, Lines, Object, events, metadata
from kubectl_lite.describe.templates import volume_source

Related = Mapping[str, Sequence[Object]]
SHORT_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def short_modes(modes: Sequence[str] | None) -> str:
    return ",".join(short for mode, short in SHORT_MODES.items() if mode in (modes or []))


def _ending(obj: Object) -> str:
    """What stands for the phase of an object that is being deleted."""
    return "Terminating" if metadata(obj).get("deletionTimestamp") else str(obj.get("status", {}).get("phase", ""))


def _finalizers(obj: Object) -> str:
    return f"[{' '.join(metadata(obj).get('finalizers') or [])}]"


def claim(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj.get("spec", {}), obj.get("status", {})
    bound = spec.get("volumeName", "")
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    lines.pair("StorageClass", spec.get("storageClassName", ""))
    lines.pair("Status", _ending(obj))
    lines.pair("Volume", bound)
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.pair("Finalizers", _finalizers(obj))
    lines.pair("Capacity", (status.get("capacity") or {}).get("storage", "") if bound else "")
    lines.pair("Access Modes", short_modes(status.get("accessModes")) if bound else "")
    lines.pair("VolumeMode", spec.get("volumeMode", ""))
    users = sorted(metadata(pod)["name"] for pod in related.get("pods", []) if _uses(pod, metadata(obj)["name"]))
    lines.pair("Used By", users[0] if users else NONE)
    for user in users[1:]:
        lines.add(f"\t{user}")
    events(lines, related.get("events"), now)
    return lines.text


def _uses(pod: Object, name: str) -> bool:
    volumes = pod.get("spec", {}).get("volumes") or []
    return any((v.get("persistentVolumeClaim") or {}).get("claimName") == name for v in volumes)


def volume(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec = Lines(), obj.get("spec", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.pair("Finalizers", _finalizers(obj))
    lines.pair("StorageClass", spec.get("storageClassName", ""))
    lines.pair("Status", _ending(obj))
    ref = spec.get("claimRef")
    lines.pair("Claim", f"{ref.get('namespace', '')}/{ref.get('name', '')}" if ref else "")
    lines.pair("Reclaim Policy", spec.get("persistentVolumeReclaimPolicy", ""))
    lines.pair("Access Modes", short_modes(spec.get("accessModes")))
    lines.pair("VolumeMode", spec.get("volumeMode", ""))
    lines.pair("Capacity", (spec.get("capacity") or {}).get("storage", ""))
    _affinity(lines, ((spec.get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms") or [])
    lines.pair("Message", obj.get("status", {}).get("message", ""))
    lines.add("Source:")
    volume_source(lines, spec, 2)
    events(lines, related.get("events"), now)
    return lines.text


def _affinity(lines: Lines, terms: Sequence[Object]) -> None:
    if not terms:
        lines.pair("Node Affinity", NONE)
        return
    lines.add("Node Affinity:")
    lines.add("Required Terms:", 1)
    for number, term in enumerate(terms):
        texts = [_requirement(e) for e in term.get("matchExpressions") or []] or [NONE]
        lines.pair(f"Term {number}", texts[0], 2)
        for text in texts[1:]:
            lines.add(f"\t{text}", 2)


def _requirement(expression: Object) -> str:
    values = ", ".join(expression.get("values") or [])
    word = expression.get("operator", "").lower()
    return f"{expression.get('key', '')} {word} [{values}]" if values else f"{expression.get('key', '')} {word}"


def storage_class(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    annotations = metadata(obj).get("annotations") or {}
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("IsDefaultClass", "Yes" if annotations.get(DEFAULT_CLASS) == "true" else "No")
    lines.pair("Annotations", ",".join(f"{k}={v}" for k, v in sorted(annotations.items())) or NONE)
    lines.pair("Provisioner", obj.get("provisioner", ""))
    lines.pair("Parameters", ",".join(f"{k}={v}" for k, v in sorted((obj.get("parameters") or {}).items())) or NONE)
    expansion = obj.get("allowVolumeExpansion")
    lines.pair("AllowVolumeExpansion", "<unset>" if expansion is None else str(expansion))
    options = obj.get("mountOptions") or []
    lines.pair("MountOptions", options[0] if options else NONE)
    for option in options[1:]:
        lines.add(f"\t{option}")
    lines.pair("ReclaimPolicy", obj.get("reclaimPolicy", ""))
    lines.pair("VolumeBindingMode", obj.get("volumeBindingMode", ""))
    events(lines, related.get("events"), now)
    return lines.text
