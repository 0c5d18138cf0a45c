"""Which objects a verb means: by TYPE/NAME, by TYPE and -l, --field-selector or --all, or by manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kubeapi.errors import NotFound
from kubeapi.scheme import Resource
from kubectl_lite.errors import UsageError
from kubectl_lite.manifests import read
from kubectl_lite.names import Target, qualified_kind
from kubectl_lite.session import Session


@dataclass(frozen=True, slots=True)
class Chosen:
    resource: Resource
    name: str
    namespace: str

    @property
    def title(self) -> str:
        """`pod/web`, `deployment.apps/web`."""
        return f"{qualified_kind(self.resource)}/{self.name}"

    @property
    def quoted(self) -> str:
        """`pod "web"`, `deployment.apps "web"`."""
        return f'{qualified_kind(self.resource)} "{self.name}"'


async def choose(args: Any, session: Session, words: list[str] | None = None) -> list[Chosen]:
    """Raises UsageError when nothing says which."""
    words = args.words if words is None else words
    chosen = []
    if getattr(args, "filename", None) or getattr(args, "kustomize", ""):
        if words:
            raise UsageError("when -f is given, name no resources beside it")
        chosen = [Chosen(m.resource, m.name, m.namespace) for m in await read(args, session)]
        return chosen
    for target in await session.names.targets(words):
        chosen += await of_target(target, args, session)
    return chosen


async def of_target(target: Target, args: Any, session: Session) -> list[Chosen]:
    where = session.namespace_of(target.resource)
    labels, fields = getattr(args, "selector", ""), getattr(args, "field_selector", "")
    if target.name:
        if labels or fields:
            raise UsageError("name cannot be provided when a selector is specified")
        if target.resource.namespaced and session.all_namespaces:
            raise UsageError("a resource cannot be retrieved by name across all namespaces")
        return [Chosen(target.resource, target.name, where)]
    if not (labels or fields or getattr(args, "all", False)):
        raise UsageError("resource(s) were provided, but no name was specified: give names, -l SELECTOR or --all")
    objects, _ = await session.server.list(target.resource, where, labels=labels, fields=fields)
    return [Chosen(target.resource, o["metadata"]["name"], o["metadata"].get("namespace", "")) for o in objects]


async def one_pod(word: str, session: Session) -> dict[str, Any]:
    """Of POD or TYPE/NAME: a pod itself, or the first (running ones first) that a workload's selector finds."""
    target = (await session.names.targets([word] if "/" in word else ["pods", word]))[0]
    if target.resource.kind == "Pod":
        return await session.server.get(target.resource, target.name, session.namespace)
    owner = await session.server.get(target.resource, target.name, session.namespace)
    pods = await pods_of(owner, session)
    if not pods:
        raise NotFound(f"{qualified_kind(target.resource)}/{target.name} has no pods")
    return min(pods, key=lambda p: (p.get("status", {}).get("phase") != "Running", p["metadata"]["name"]))


async def pods_of(owner: dict[str, Any], session: Session) -> list[dict[str, Any]]:
    selector = selector_of(owner)
    if not selector:
        raise UsageError(f"{owner['kind']} {owner['metadata']['name']} selects no pods; name a pod")
    pods = await session.names.find("pods")
    found, _ = await session.server.list(pods, owner["metadata"].get("namespace", ""), labels=selector)
    return found


def selector_of(owner: dict[str, Any]) -> str:
    """The text form of spec.selector, a LabelSelector or a plain map."""
    selector = owner.get("spec", {}).get("selector") or {}
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))
    return format_selector(selector)


def format_selector(selector: dict[str, Any]) -> str:
    words = [f"{k}={v}" for k, v in sorted((selector.get("matchLabels") or {}).items())]
    for e in selector.get("matchExpressions") or []:
        values = ",".join(e.get("values") or [])
        text = {"In": f"{e['key']} in ({values})", "NotIn": f"{e['key']} notin ({values})", "Exists": e["key"]}
        words.append(text.get(e["operator"], f"!{e['key']}"))
    return ",".join(words)
