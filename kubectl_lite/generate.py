"""Objects of common kinds made from a few words: what `create KIND`, `run`, `expose` and `autoscale` send. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kubectl_lite.errors import UsageError

Object = dict[str, Any]
_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def pairs(words: Sequence[str], flag: str) -> dict[str, str]:
    """Of KEY=VALUE words, commas allowed between them."""
    found = {}
    for word in words:
        key, eq, value = word.partition("=")
        if not eq or not key:
            raise UsageError(f"{flag}: {word!r} is not KEY=VALUE")
        found[key] = value
    return found


def container_name(image: str) -> str:
    """`docker.io/library/nginx:1.25@sha256:...` gives `nginx`."""
    plain = image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return re.sub(r"[^-a-z0-9]", "-", plain.lower()).strip("-") or "main"


def container_port(text: str) -> Object:
    number, _, protocol = text.partition("/")
    if not number.isdigit() or not 0 < int(number) < 65536:
        raise UsageError(f"--port: {text!r} is no port; write a number from 1 to 65535")
    port: Object = {"containerPort": int(number)}
    return port | ({"protocol": protocol.upper()} if protocol else {})


def deployment(name: str, images: Sequence[str], *, replicas: int, port: str, command: Sequence[str] | None) -> Object:
    if not images:
        raise UsageError("required flag(s) --image not set: name at least one image")
    if command and len(images) > 1:
        raise UsageError("cannot specify multiple --image options and command")
    labels = {"app": name}
    containers: list[Object] = []
    for image in images:
        container: Object = {"image": image, "name": container_name(image), "resources": {}}
        if any(c["name"] == container["name"] for c in containers):
            container["name"] = f"{container['name']}-{len(containers)}"
        if command:
            container["command"] = list(command)
        if port and not containers:
            container["ports"] = [container_port(port)]
        containers.append(container)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


def pod(
    name: str,
    image: str,
    *,
    labels: Mapping[str, str],
    env: Sequence[str],
    port: str,
    restart: str,
    words: Sequence[str],
    as_command: bool,
    stdin: bool,
    tty: bool,
) -> Object:
    container: Object = {"name": name, "image": image, "resources": {}}
    if words:
        container["command" if as_command else "args"] = list(words)
    if env:
        container["env"] = [{"name": k, "value": v} for k, v in pairs(env, "--env").items()]
    if port:
        container["ports"] = [container_port(port)]
    if stdin:
        container |= {"stdin": True, "stdinOnce": True}
    if tty:
        container["tty"] = True
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels) or {"run": name}},
        "spec": {"containers": [container], "dnsPolicy": "ClusterFirst", "restartPolicy": restart},
    }


def job(name: str, image: str, command: Sequence[str] | None) -> Object:
    container: Object = {"name": name, "image": image, "resources": {}}
    if command:
        container["command"] = list(command)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "Never"}}},
    }


def cron_job(name: str, image: str, schedule: str, restart: str, command: Sequence[str] | None) -> Object:
    made = job(name, image, command)
    made["spec"]["template"]["spec"]["restartPolicy"] = restart or "OnFailure"
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name},
        "spec": {"schedule": schedule, "jobTemplate": {"metadata": {"name": name}, "spec": made["spec"]}},
    }


def job_from_cron_job(name: str, cron: Object) -> Object:
    template = cron["spec"]["jobTemplate"]
    metadata = template.get("metadata") or {}
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": cron["metadata"]["name"],
        "uid": cron["metadata"].get("uid", ""),
        "controller": True,
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": metadata.get("labels") or {},
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"} | (metadata.get("annotations") or {}),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


def service(name: str, type_: str, tcp: Sequence[str], *, external_name: str = "", headless: bool = False) -> Object:
    spec: Object = {"type": type_, "selector": {"app": name}}
    if type_ == "ExternalName":
        spec = {"type": type_, "externalName": external_name, "selector": {"app": name}}
    ports = [service_port(text) for text in tcp]
    if ports:
        spec["ports"] = ports
    elif type_ != "ExternalName" and not headless:
        raise UsageError("at least one --tcp=PORT[:TARGET] must be given")
    if headless:
        spec["clusterIP"] = "None"
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def service_port(text: str) -> Object:
    front, _, back = text.partition(":")
    back = back or front
    if not front.isdigit():
        raise UsageError(f"--tcp: {text!r} is not PORT[:TARGET]")
    target: int | str = int(back) if back.isdigit() else back
    name = text.replace(":", "-") if ":" in text else front
    return {"name": name, "port": int(front), "protocol": "TCP", "targetPort": target}


def ingress(
    name: str, rules: Sequence[str], *, class_name: str, default: str, annotations: Mapping[str, str]
) -> Object:
    """Rules as `host/path=service:port[,tls[=secret]]`; a path that ends with `*` is a prefix."""
    hosts: dict[str, list[Object]] = {}
    tls: dict[str, list[str]] = {}
    for text in rules:
        address, eq, rest = text.partition("=")
        host, slash, path = address.partition("/")
        target, comma, secret = rest.partition(",")
        if not eq or not slash or (comma and secret.partition("=")[0] != "tls"):
            raise UsageError(f"--rule: {text!r} is not HOST/PATH=SERVICE:PORT[,tls[=SECRET]]")
        kind = "Prefix" if path.endswith("*") else "Exact"
        hosts.setdefault(host, []).append(
            {"path": f"/{path.removesuffix('*')}", "pathType": kind, "backend": _backend(target)}
        )
        if comma:
            tls.setdefault(secret.partition("=")[2], []).extend([host] if host else [])
    spec: Object = {"rules": [_rule(host, paths) for host, paths in hosts.items()]} if hosts else {}
    if tls:
        spec["tls"] = [
            ({"hosts": list(dict.fromkeys(names))} if names else {}) | ({"secretName": secret} if secret else {})
            for secret, names in tls.items()
        ]
    spec |= {"ingressClassName": class_name} if class_name else {}
    spec |= {"defaultBackend": _backend(default)} if default else {}
    made = simple("networking.k8s.io/v1", "Ingress", name, spec=spec)
    if annotations:
        made["metadata"]["annotations"] = dict(annotations)
    return made


def _rule(host: str, paths: list[Object]) -> Object:
    return ({"host": host} if host else {}) | {"http": {"paths": paths}}


def _backend(text: str) -> Object:
    name, colon, port = text.partition(":")
    if not name or not colon or not port:
        raise UsageError(f"{text!r} is not SERVICE:PORT")
    return {"service": {"name": name, "port": {"number": int(port)} if port.isdigit() else {"name": port}}}


# ------------------------------------------------------------------ ConfigMaps and Secrets


def files_and_literals(
    files: Sequence[str], literals: Sequence[str], env_files: Sequence[str], here: Path
) -> dict[str, bytes]:
    """Key to content. Raises UsageError; OSError for a file that cannot be read."""
    if env_files and (files or literals):
        raise UsageError("from-env-file cannot be combined with from-file or from-literal")
    found: dict[str, bytes] = {}

    def add(key: str, value: bytes) -> None:
        if not _KEY.fullmatch(key):
            raise UsageError(f"{key!r} is not a valid key: a key has letters, digits, '-', '_' or '.' only")
        if key in found:
            raise UsageError(f"cannot add key {key}, another key by that name already exists")
        found[key] = value

    for word in literals:
        key, eq, value = word.partition("=")
        if not eq:
            raise UsageError(f"invalid literal source {word}, expected key=value")
        add(key, _unquoted(value).encode())
    for word in files:
        key, eq, path = word.partition("=")
        place = here / (path if eq else word)
        if place.is_dir():
            if eq:
                raise UsageError(f"cannot give a key name for a directory path: {word}")
            for file in sorted(f for f in place.iterdir() if f.is_file()):
                add(file.name, file.read_bytes())
        else:
            add(key if eq else place.name, place.read_bytes())
    for name in env_files:
        for line in (here / name).read_text().splitlines():
            text = line.lstrip()
            if text and not text.startswith("#"):
                key, _, value = text.partition("=")
                add(key.strip(), value.encode())
    return found


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def config_map(name: str, content: Mapping[str, bytes]) -> Object:
    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    for key, value in content.items():
        try:
            data[key] = value.decode()
        except UnicodeDecodeError:
            binary[key] = base64.b64encode(value).decode()
    made: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return made | ({"data": data} if data else {}) | ({"binaryData": binary} if binary else {})


def secret(name: str, content: Mapping[str, bytes], type_: str = "") -> Object:
    made: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    if content:
        made["data"] = {key: base64.b64encode(value).decode() for key, value in content.items()}
    return made | ({"type": type_} if type_ else {})


def docker_config(server: str, user: str, password: str, email: str) -> bytes:
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    entry = {"username": user, "password": password, **({"email": email} if email else {}), "auth": auth}
    return json.dumps({"auths": {server: entry}}, separators=(",", ":")).encode()


# ------------------------------------------------------------------ the rest


def simple(api_version: str, kind: str, name: str, **fields: Any) -> Object:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **fields}


def rules(verbs: Sequence[str], resources: Sequence[tuple[str, str]], names: Sequence[str]) -> list[Object]:
    """`resources` are (group, plural or plural/subresource); one rule a group."""
    made: list[Object] = []
    for group in dict.fromkeys(group for group, _ in resources):
        rule: Object = {
            "apiGroups": [group],
            "resources": [plural for g, plural in resources if g == group],
            "verbs": list(verbs),
        }
        made.append(rule | ({"resourceNames": list(names)} if names else {}))
    return made


def subjects(users: Sequence[str], groups: Sequence[str], accounts: Sequence[str]) -> list[Object]:
    api = "rbac.authorization.k8s.io"
    made: list[Object] = [{"kind": "User", "apiGroup": api, "name": u} for u in users]
    made += [{"kind": "Group", "apiGroup": api, "name": g} for g in groups]
    for word in accounts:
        namespace, colon, name = word.partition(":")
        if not colon or not name:
            raise UsageError(f"--serviceaccount: {word!r} is not NAMESPACE:NAME")
        made.append({"kind": "ServiceAccount", "namespace": namespace, "name": name})
    return made


def autoscaler(target: Object, name: str, *, least: int | None, most: int, cpu: int | None) -> Object:
    spec: Object = {
        "maxReplicas": most,
        "scaleTargetRef": {
            "apiVersion": target["apiVersion"],
            "kind": target["kind"],
            "name": target["metadata"]["name"],
        },
    }
    if least is not None:
        spec["minReplicas"] = least
    if cpu is not None:
        target_of_cpu = {"type": "Utilization", "averageUtilization": cpu}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target_of_cpu}}]
    return simple("autoscaling/v2", "HorizontalPodAutoscaler", name, spec=spec)
