"""set image, set env, set resources: fields of a pod template's containers, as a strategic merge patch of just those."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from kubectl_lite.choosing import choose
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.generate import pairs
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import dry_run_of, report, writing_of

Object = dict[str, Any]
Change = Callable[[Object], Object]
"""Of a container, what to merge into it; empty when it is so already."""
_PATHS = {"Pod": (), "CronJob": ("jobTemplate", "spec", "template", "spec")}


def _shared(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.everywhere()
    flags.dry_run()
    flags.output()


def _containers_flags(flags: Flags) -> None:
    flags.value("-c", "--containers", default="*", help="which containers, with * for any text", metavar="NAMES")
    _shared(flags)


def _env_flags(flags: Flags) -> None:
    flags.switch("--list", help="show the variables, change nothing")
    _containers_flags(flags)


def _resources_flags(flags: Flags) -> None:
    flags.value("--limits", help="as cpu=200m,memory=512Mi; 0 removes one", metavar="AMOUNTS")
    flags.value("--requests", help="as cpu=100m,memory=256Mi; 0 removes one", metavar="AMOUNTS")
    _containers_flags(flags)


def pod_path(kind: str, obj: Object) -> tuple[str, ...]:
    """Below `spec`, where the pod's spec is. Raises UsageError for a kind without one."""
    path = _PATHS.get(kind, ("template", "spec"))
    inner = obj.get("spec", {})
    for step in path:
        inner = inner.get(step) or {}
    if "containers" not in inner:
        raise UsageError(f"{kind.lower()} {obj['metadata']['name']} has no pod template")
    return path


def patch_for(obj: Object, change: Change) -> Object:
    """Pure. The patch of all containers (and init containers) that `change` says something of; {} when of none."""
    path = pod_path(obj["kind"], obj)
    inner = obj["spec"]
    for step in path:
        inner = inner[step]
    changed: Object = {}
    for field in ("containers", "initContainers"):
        found = [{"name": c["name"]} | merge for c in inner.get(field) or [] if (merge := change(c))]
        if found:
            changed[field] = found
    if not changed:
        return {}
    for step in reversed(path):
        changed = {step: changed}
    return {"spec": changed}


def image_change(words: Sequence[str]) -> Change:
    images = pairs(words, "set image")
    return lambda c: _differing(c, "image", images.get(c["name"], images.get("*")))


def _differing(container: Object, field: str, value: str | None) -> Object:
    return {} if value is None or container.get(field) == value else {field: value}


def env_change(words: Sequence[str], which: str) -> Change:
    """KEY=VALUE sets, KEY- removes."""
    wish: dict[str, str | None] = {}
    for word in words:
        key, eq, value = word.partition("=")
        wish[key if eq else word[:-1]] = value if eq else None

    def change(container: Object) -> Object:
        if not fnmatchcase(container["name"], which):
            return {}
        have = {e["name"]: e for e in container.get("env") or []}
        entries: list[Object] = []
        for key, value in wish.items():
            if value is None and key in have:
                entries.append({"name": key, "$patch": "delete"})
            elif value is not None and have.get(key) != {"name": key, "value": value}:
                entries.append({"name": key, "value": value, "valueFrom": None})
        return {"env": entries} if entries else {}

    return change


def resources_change(limits: str, requests: str, which: str) -> Change:
    wish = {
        field: {k: None if v == "0" else v for k, v in pairs(text.split(","), f"--{field}").items()}
        for field, text in (("limits", limits), ("requests", requests))
        if text
    }

    def change(container: Object) -> Object:
        if not fnmatchcase(container["name"], which):
            return {}
        have = container.get("resources") or {}
        differing = {
            field: parts
            for field, amounts in wish.items()
            if (parts := {k: v for k, v in amounts.items() if (have.get(field) or {}).get(k) != v})
        }
        return {"resources": differing} if differing else {}

    return change


async def _apply(words: list[str], change: Change, outcome: str, args: argparse.Namespace, session: Session) -> int:
    for one in await choose(args, session, words):
        obj = await session.server.get(one.resource, one.name, one.namespace)
        patch = patch_for(obj, change)
        if not patch:
            continue
        if dry_run_of(args, session) != "client":
            obj = await session.server.patch(
                one.resource, one.name, patch, one.namespace, kind="strategic", writing=writing_of(args, session)
            )
        report(args, session, obj, outcome)
    return 0


def _split(words: list[str], *, removals: bool) -> tuple[list[str], list[str]]:
    """What is meant, and the changes."""
    at = next((i for i, w in enumerate(words) if "=" in w or (removals and i and w.endswith("-"))), len(words))
    off = [w for w in words[at:] if "=" not in w and not (removals and w.endswith("-"))]
    if off:
        raise UsageError(f"{off[0]!r} is no change: write NAME=VALUE" + (" or NAME-" if removals else ""))
    return words[:at], words[at:]


async def _image(args: argparse.Namespace, session: Session) -> int:
    words, changes = _split(args.words, removals=False)
    if not changes:
        raise UsageError("at least one image update is required: set image deploy/web CONTAINER=IMAGE")
    wanted = set(pairs(changes, "set image")) - {"*"}
    for one in await choose(args, session, words):
        obj = await session.server.get(one.resource, one.name, one.namespace)
        names = {c["name"] for c in _all_containers(obj)}
        for missing in sorted(wanted - names):
            raise UsageError(f'unable to find container named "{missing}" in {one.title}; it has {sorted(names)}')
    return await _apply(words, image_change(changes), "image updated", args, session)


def _all_containers(obj: Object) -> list[Object]:
    inner = obj["spec"]
    for step in pod_path(obj["kind"], obj):
        inner = inner[step]
    return [*(inner.get("initContainers") or []), *inner["containers"]]


async def _env(args: argparse.Namespace, session: Session) -> int:
    words, changes = _split(args.words, removals=True)
    if args.list:
        for one in await choose(args, session, words):
            obj = await session.server.get(one.resource, one.name, one.namespace)
            for container in _all_containers(obj):
                session.io.say(f"# {one.resource.kind} {one.name}, container {container['name']}")
                for entry in container.get("env") or []:
                    source = f"# {entry['name']} from {entry['valueFrom']}" if "valueFrom" in entry else ""
                    session.io.say(source or f"{entry['name']}={entry.get('value', '')}")
        return 0
    if not changes:
        raise UsageError("at least one environment variable must be provided: set env deploy/web KEY=VALUE OTHER-")
    return await _apply(words, env_change(changes, args.containers), "env updated", args, session)


async def _resources(args: argparse.Namespace, session: Session) -> int:
    if not (args.limits or args.requests):
        raise UsageError("you must specify an update to requests or limits: --limits=cpu=200m,memory=512Mi")
    change = resources_change(args.limits, args.requests, args.containers)
    return await _apply(args.words, change, "resource requirements updated", args, session)


VERB = Verb(
    help="Change fields of a pod template.",
    usage="(image | env | resources) TYPE/NAME ... [flags]",
    examples="kubectl-lite set image deploy/web nginx=nginx:1.27\nkubectl-lite set env deploy/web A=1 B-",
    sub={
        "image": Verb(
            "Set the images of containers.",
            "TYPE/NAME CONTAINER=IMAGE ... [flags]",
            "kubectl-lite set image deploy/web nginx=nginx:1.27\nkubectl-lite set image deploy/web '*=nginx:1.27'",
            _shared,
            _image,
        ),
        "env": Verb(
            "Set, remove or list environment variables.",
            "TYPE/NAME KEY=VALUE ... KEY- ... [flags]",
            "kubectl-lite set env deploy/web MODE=fast DEBUG-\nkubectl-lite set env deploy/web --list",
            _env_flags,
            _env,
        ),
        "resources": Verb(
            "Set requests and limits.",
            "TYPE/NAME [--limits=AMOUNTS] [--requests=AMOUNTS] [flags]",
            "kubectl-lite set resources deploy/web --limits=cpu=200m,memory=512Mi -c nginx",
            _resources_flags,
            _resources,
        ),
    },
)
