"""Who may do what, and how much: roles, bindings, service accounts, quotas, limits, priorities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from kubectl_lite.describe.lines import NONE, Lines, Object, events, metadata

Related = Mapping[str, Sequence[Object]]
ACCOUNT = "kubernetes.io/service-account.name"


def role(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj, namespace=False)
    lines.add("PolicyRule:")
    header = ("Resources", "Non-Resource URLs", "Resource Names", "Verbs")
    lines.table(header, list(policy_rules(obj.get("rules") or [])))
    return lines.text


def policy_rules(rules: Sequence[Object]) -> Iterator[list[str]]:
    """One line for each resource, and name of it; verbs of the same come together. In kubectl's order: by verbs first."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for rule in rules:
        for group in rule.get("apiGroups") or []:
            for resource in rule.get("resources") or []:
                for name in rule.get("resourceNames") or [""]:
                    found.setdefault((group, resource, name, ""), []).extend(rule.get("verbs") or [])
        for url in rule.get("nonResourceURLs") or []:
            found.setdefault(("", "", "", url), []).extend(rule.get("verbs") or [])
    merged = {key: list(dict.fromkeys(verbs)) for key, verbs in found.items()}

    def rank(item: tuple[tuple[str, str, str, str], list[str]]) -> str:
        (group, resource, name, url), verbs = item
        return f"[{' '.join(verbs)}],[{group}],[{resource}],[{name}],[{url}]"

    for (group, resource, name, url), verbs in sorted(merged.items(), key=rank):
        qualified = f"{resource}.{group}" if group else resource
        yield [qualified, f"[{url}]", f"[{name}]", f"[{' '.join(verbs)}]"]


def role_binding(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj, namespace=False)
    ref = obj.get("roleRef") or {}
    lines.add("Role:")
    lines.pair("Kind", ref.get("kind", ""), 1)
    lines.pair("Name", ref.get("name", ""), 1)
    lines.add("Subjects:")
    subjects = [[s.get("kind", ""), s.get("name", ""), s.get("namespace", "")] for s in obj.get("subjects") or []]
    lines.table(("Kind", "Name", "Namespace"), subjects)
    return lines.text


def service_account(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, name = Lines(), metadata(obj)["name"]
    lines.head(obj)
    tokens = [
        metadata(s)["name"]
        for s in related.get("secrets", [])
        if s.get("type") == "kubernetes.io/service-account-token"
        and (metadata(s).get("annotations") or {}).get(ACCOUNT) == name
    ]
    for title, names in (
        ("Image pull secrets", [s.get("name", "") for s in obj.get("imagePullSecrets") or []]),
        ("Mountable secrets", [s.get("name", "") for s in obj.get("secrets") or []]),
        ("Tokens", tokens),
    ):
        lines.pair(title, names[0] if names else NONE)
        for further in names[1:]:
            lines.add(f"\t{further}")
    events(lines, related.get("events"), now)
    return lines.text


def quota(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, status = Lines(), obj.get("status", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    if scopes := obj.get("spec", {}).get("scopes"):
        lines.pair("Scopes", ", ".join(sorted(scopes)))
    used = status.get("used") or {}
    rows = [[name, used.get(name, "0"), hard] for name, hard in sorted((status.get("hard") or {}).items())]
    lines.table(("Resource", "Used", "Hard"), rows, 0)
    return lines.text


def limit_range(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    fields = ("min", "max", "defaultRequest", "default", "maxLimitRequestRatio")
    rows = []
    for limit in obj.get("spec", {}).get("limits") or []:
        names = sorted({name for field in fields for name in limit.get(field) or {}})
        rows += [[limit.get("type", ""), n, *((limit.get(f) or {}).get(n, "-") for f in fields)] for n in names]
    header = ("Type", "Resource", "Min", "Max", "Default Request", "Default Limit", "Max Limit/Request Ratio")
    lines.table(header, rows, 0)
    return lines.text


def priority_class(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Value", obj.get("value", 0))
    lines.pair("GlobalDefault", str(bool(obj.get("globalDefault"))).lower())
    lines.pair("PreemptionPolicy", obj.get("preemptionPolicy", ""))
    lines.pair("Description", obj.get("description", ""))
    annotations = metadata(obj).get("annotations") or {}
    lines.pair("Annotations", ",".join(f"{k}={v}" for k, v in sorted(annotations.items())) or NONE)
    events(lines, related.get("events"), now)
    return lines.text
