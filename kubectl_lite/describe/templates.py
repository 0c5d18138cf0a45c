"""Containers, volumes and pod templates, as pods and workloads show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_lite.describe.lines import NONE, Lines, Object
from kubectl_lite.durations import rfc1123


def template_lines(template: Object) -> list[str]:
    lines = Lines()
    template_into(lines, template)
    return lines.text


def template_into(lines: Lines, template: Object | None) -> None:
    lines.add("Pod Template:")
    if not template:
        lines.add("<unset>", 1)
        return
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    lines.map("Labels", metadata.get("labels"), 1)
    if metadata.get("annotations"):
        lines.annotations("Annotations", metadata["annotations"], 1)
    if spec.get("serviceAccountName"):
        lines.pair("Service Account", spec["serviceAccountName"], 1)
    if spec.get("initContainers"):
        containers(lines, "Init Containers", spec["initContainers"], {}, level=1)
    containers(lines, "Containers", spec.get("containers") or [], {}, level=1)
    volumes(lines, spec.get("volumes"), level=1)
    constraints(lines, spec.get("topologySpreadConstraints"), level=1)
    if spec.get("priorityClassName"):
        lines.pair("Priority Class Name", spec["priorityClassName"], 1)
    lines.map("Node-Selectors", spec.get("nodeSelector"), 1)
    tolerations(lines, spec.get("tolerations"), level=1)


def constraints(lines: Lines, found: Sequence[Object] | None, *, level: int) -> None:
    from kubectl_lite.describe.lines import selector_text

    texts = [
        f"{c['topologyKey']}:{c['whenUnsatisfiable']} when max skew {c['maxSkew']} is exceeded"
        + (f" for selector {selector_text(c['labelSelector'])}" if c.get("labelSelector") else "")
        for c in sorted(found or [], key=lambda c: str(c.get("topologyKey", "")))
    ]
    for number, text in enumerate(texts):
        lines.add(f"{'Topology Spread Constraints:' if number == 0 else ''}\t{text}", level)


def tolerations(lines: Lines, found: Sequence[Object] | None, *, level: int = 0) -> None:
    texts = [toleration(t) for t in sorted(found or [], key=lambda t: str(t.get("key", "")))] or [NONE]
    lines.pair("Tolerations", texts[0], level)
    for text in texts[1:]:
        lines.add(f"\t{text}", level)


def toleration(t: Object) -> str:
    text = str(t.get("key", ""))
    if t.get("value"):
        text += f"={t['value']}"
    if t.get("effect"):
        text += f":{t['effect']}"
    if t.get("operator") == "Exists" and not t.get("value"):
        text += " op=Exists" if t.get("key") or t.get("effect") else "op=Exists"
    if t.get("tolerationSeconds") is not None:
        text += f" for {t['tolerationSeconds']}s"
    return text


# ------------------------------------------------------------------ containers


def containers(
    lines: Lines,
    label: str,
    found: Sequence[Object],
    statuses: Mapping[str, Object],
    *,
    level: int = 0,
    pod: Object | None = None,
) -> None:
    """Of `pod`, if they are a pod's: its name and the like stand beside the variables that refer to them."""
    if not found:
        lines.pair(label, NONE, level)
        return
    lines.add(f"{label}:", level)
    for container in found:
        # In a template only the name moves to the right, by one blank.
        lines.add(f"{' ' if level else ''}{container['name']}:", 1)
        _container(lines, container, statuses.get(container["name"]), pod)


def _container(lines: Lines, c: Object, status: Object | None, pod: Object | None) -> None:
    inner = 2
    if status is not None:
        lines.pair("Container ID", status.get("containerID", ""), inner)
    lines.pair("Image", c.get("image", ""), inner)
    if status is not None:
        lines.pair("Image ID", status.get("imageID", ""), inner)
    ports = c.get("ports") or []
    lines.pair("Port" if len(ports) < 2 else "Ports", _ports(ports, "containerPort"), inner)
    lines.pair("Host Port" if len(ports) < 2 else "Host Ports", _ports(ports, "hostPort"), inner)
    for field, title in (("command", "Command"), ("args", "Args")):
        if c.get(field):
            lines.add(f"{title}:", inner)
            for word in c[field]:
                for line in str(word).split("\n"):
                    lines.add(line, inner + 1)
    if status is not None:
        _state(lines, "State", status.get("state") or {}, inner)
        if (status.get("lastState") or {}).get("terminated"):
            _state(lines, "Last State", status["lastState"], inner)
        lines.pair("Ready", str(bool(status.get("ready"))), inner)
        lines.pair("Restart Count", status.get("restartCount", 0), inner)
    resources = c.get("resources") or {}
    for field, title in (("limits", "Limits"), ("requests", "Requests")):
        if resources.get(field):
            lines.add(f"{title}:", inner)
            for name, amount in sorted(resources[field].items()):
                lines.pair(name, amount, inner + 1)
    for field, title in (
        ("livenessProbe", "Liveness"),
        ("readinessProbe", "Readiness"),
        ("startupProbe", "Startup"),
    ):
        if c.get(field):
            lines.pair(title, probe(c[field]), inner)
    _environment(lines, c, inner, pod)
    mounts = sorted(c.get("volumeMounts") or [], key=lambda m: str(m["mountPath"]))
    lines.add("Mounts:" + ("" if mounts else f"\t{NONE}"), inner)
    for mount in mounts:
        flags = ["ro" if mount.get("readOnly") else "rw"]
        if mount.get("subPath"):
            flags.append(f'path="{mount["subPath"]}"')
        lines.add(f"{mount['mountPath']} from {mount['name']} ({','.join(flags)})", inner + 1)
    devices = c.get("volumeDevices") or []
    if devices:
        lines.add("Devices:", inner)
        for device in sorted(devices, key=lambda d: str(d["devicePath"])):
            lines.add(f"{device['devicePath']} from {device['name']}", inner + 1)


def _ports(ports: Sequence[Object], field: str) -> str:
    return ", ".join(f"{p.get(field, 0)}/{p.get('protocol', 'TCP')}" for p in ports) or NONE


def _state(lines: Lines, label: str, state: Object, level: int) -> None:
    if running := state.get("running"):
        lines.pair(label, "Running", level)
        lines.pair("Started", rfc1123(running.get("startedAt", "")), level + 1)
    elif "running" in state:
        lines.pair(label, "Running", level)
    elif ended := state.get("terminated"):
        lines.pair(label, "Terminated", level)
        if ended.get("reason"):
            lines.pair("Reason", ended["reason"], level + 1)
        if ended.get("message"):
            lines.pair("Message", ended["message"].strip(), level + 1)
        lines.pair("Exit Code", ended.get("exitCode", 0), level + 1)
        if ended.get("signal"):
            lines.pair("Signal", ended["signal"], level + 1)
        lines.pair("Started", rfc1123(ended.get("startedAt", "")), level + 1)
        lines.pair("Finished", rfc1123(ended.get("finishedAt", "")), level + 1)
    else:
        lines.pair(label, "Waiting", level)
        if (state.get("waiting") or {}).get("reason"):
            lines.pair("Reason", state["waiting"]["reason"], level + 1)


def probe(p: Object) -> str:
    bounds = (
        f"delay={p.get('initialDelaySeconds', 0)}s timeout={p.get('timeoutSeconds', 1)}s "
        f"period={p.get('periodSeconds', 10)}s #success={p.get('successThreshold', 1)} "
        f"#failure={p.get('failureThreshold', 3)}"
    )
    if "exec" in p:
        return f"exec [{' '.join(p['exec'].get('command') or [])}] {bounds}"
    if "httpGet" in p:
        get = p["httpGet"]
        host = f"{get.get('host', '')}:{get.get('port', '')}"
        return f"http-get {get.get('scheme', 'HTTP').lower()}://{host}{get.get('path', '')} {bounds}"
    if "tcpSocket" in p:
        return f"tcp-socket {p['tcpSocket'].get('host', '')}:{p['tcpSocket'].get('port', '')} {bounds}"
    if "grpc" in p:
        return f"grpc <pod>:{p['grpc'].get('port', '')} {p['grpc'].get('service', '')} {bounds}"
    return f"unknown {bounds}"


def _environment(lines: Lines, c: Object, level: int, pod: Object | None) -> None:
    sources = c.get("envFrom") or []
    if sources:
        lines.add("Environment Variables from:", level)
        for source in sources:
            kind, ref = (
                ("ConfigMap", source["configMapRef"])
                if "configMapRef" in source
                else (
                    "Secret",
                    source.get("secretRef", {}),
                )
            )
            prefix = f" with prefix '{source['prefix']}'" if source.get("prefix") else ""
            optional = str(bool(ref.get("optional"))).lower()
            lines.add(f"{ref.get('name', '')}\t{kind}{prefix}\tOptional: {optional}", level + 1)
    env = c.get("env") or []
    lines.add("Environment:" + ("" if env else f"\t{NONE}"), level)
    for variable in env:
        lines.add(_variable(variable, pod), level + 1)


def _variable(variable: Object, pod: Object | None) -> str:
    name, source = variable["name"], variable.get("valueFrom")
    if not source:
        first, *others = str(variable.get("value", "")).split("\n")
        return f"{name}:\t{first}" + "".join(f"\n\t{line}" for line in others)
    if ref := source.get("fieldRef"):
        path = ref.get("fieldPath", "")
        return f"{name}:\t{field_of(pod, path)} ({ref.get('apiVersion', 'v1')}:{path})"
    if ref := source.get("resourceFieldRef"):
        return f"{name}:\t ({ref.get('resource', '')})"
    for field, what in (("secretKeyRef", "in secret"), ("configMapKeyRef", "of config map")):
        if ref := source.get(field):
            optional = str(bool(ref.get("optional"))).lower()
            return f"{name}:\t<set to the key '{ref['key']}' {what} '{ref['name']}'>\tOptional: {optional}"
    return f"{name}:\t"


def field_of(pod: Object | None, path: str) -> str:
    """What of a pod's metadata the path names; empty for all else, as kubectl has it."""
    word, bracket, key = path.removeprefix("metadata.").partition("[")
    found = ((pod or {}).get("metadata") or {}).get(word, "") if path.startswith("metadata.") else ""
    if isinstance(found, dict):
        return str(found.get(key.strip("]'\""), "")) if bracket else ""
    return str(found)


# ------------------------------------------------------------------ volumes

_KINDS: dict[str, tuple[str, tuple[tuple[str, str, Any], ...]]] = {
    "emptyDir": (
        "EmptyDir (a temporary directory that shares a pod's lifetime)",
        (("Medium", "medium", ""), ("SizeLimit", "sizeLimit", "<unset>")),
    ),
    "hostPath": (
        "HostPath (bare host directory volume)",
        (("Path", "path", ""), ("HostPathType", "type", NONE)),
    ),
    "configMap": (
        "ConfigMap (a volume populated by a ConfigMap)",
        (("Name", "name", ""), ("Optional", "optional", False)),
    ),
    "secret": (
        "Secret (a volume populated by a Secret)",
        (("SecretName", "secretName", ""), ("Optional", "optional", False)),
    ),
    "persistentVolumeClaim": (
        "PersistentVolumeClaim (a reference to a PersistentVolumeClaim in the same namespace)",
        (("ClaimName", "claimName", ""), ("ReadOnly", "readOnly", False)),
    ),
    "nfs": (
        "NFS (an NFS mount that lasts the lifetime of a pod)",
        (("Server", "server", ""), ("Path", "path", ""), ("ReadOnly", "readOnly", False)),
    ),
    "local": ("LocalVolume (a persistent volume backed by local storage on a node)", (("Path", "path", ""),)),
    "csi": (
        "CSI (a Container Storage Interface (CSI) volume source)",
        (("Driver", "driver", ""), ("FSType", "fsType", ""), ("ReadOnly", "readOnly", False)),
    ),
}


def volumes(lines: Lines, found: Sequence[Object] | None, *, level: int = 0) -> None:
    if not found:
        lines.pair("Volumes", NONE, level)
        return
    lines.add("Volumes:", level)
    for volume in found:
        lines.add(f"{volume['name']}:", level + 1)
        volume_source(lines, volume, level + 2)


def volume_source(lines: Lines, volume: Object, level: int) -> None:
    for field, (title, parts) in _KINDS.items():
        if field in volume:
            source = volume[field] or {}
            lines.pair("Type", title, level)
            for label, name, default in parts:
                value = source.get(name, default)
                lines.pair(label, str(value).lower() if isinstance(value, bool) else value, level)
            return
    if "projected" in volume:
        lines.pair("Type", "Projected (a volume that contains injected data from multiple sources)", level)
        for source in volume["projected"].get("sources") or []:
            _projection(lines, source, level)
        return
    if "downwardAPI" in volume:
        lines.pair("Type", "DownwardAPI (a volume populated by information about the pod)", level)
        lines.add("Items:", level)
        for item in volume["downwardAPI"].get("items") or []:
            what = (item.get("fieldRef") or {}).get("fieldPath") or (item.get("resourceFieldRef") or {}).get("resource")
            lines.add(f"{what} -> {item['path']}", level + 1)
        return
    if "ephemeral" in volume:
        lines.pair(
            "Type", "EphemeralVolume (an inline specification for a volume that gets created with the pod)", level
        )
        spec = (volume["ephemeral"].get("volumeClaimTemplate") or {}).get("spec") or {}
        lines.pair("StorageClass", spec.get("storageClassName", ""), level)
        lines.pair("Capacity", (spec.get("resources") or {}).get("requests", {}).get("storage", ""), level)
        return
    lines.pair("Type", next((k for k in volume if k != "name"), "<unknown>"), level)


def _projection(lines: Lines, source: Object, level: int) -> None:
    if "secret" in source:
        lines.pair("SecretName", source["secret"].get("name", ""), level)
        lines.pair("Optional", str(bool(source["secret"].get("optional"))).lower(), level)
    elif "configMap" in source:
        lines.pair("ConfigMapName", source["configMap"].get("name", ""), level)
        lines.pair("Optional", str(bool(source["configMap"].get("optional"))).lower(), level)
    elif "downwardAPI" in source:
        lines.pair("DownwardAPI", "true", level)
    elif "serviceAccountToken" in source:
        seconds = source["serviceAccountToken"].get("expirationSeconds", 3600)
        lines.pair("TokenExpirationSeconds", seconds, level)
