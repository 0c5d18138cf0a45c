"""describe: one object laid out to read, with its events: all fields, the way they nest, nothing hidden."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from kubeapi import codec
from kubeapi.clock import SystemClock
from kubeapi.types import core_v1
from kubectl_lite import output
from kubectl_lite.names import Target, parse_targets
from kubectl_lite.session import Session

HELP = "show an object with its events"
HIDDEN = {"managedFields", "uid", "resourceVersion", "generation", "selfLink"}
QUIET_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
WIDTH = 18


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="TYPE[/NAME]")
    parser.add_argument("-l", "--selector", default="")


async def run(args: argparse.Namespace, session: Session) -> int:
    first = True
    for target in parse_targets(args.what):
        for obj in await _objects(target, args.selector, session):
            if not first:
                session.io.say("\n")
            first = False
            for line in render(obj):
                session.io.say(line)
            await _events(obj, session)
    if first:
        print("No resources found.", file=session.io.err)
    return 0


async def _objects(target: Target, selector: str, session: Session) -> list[dict[str, Any]]:
    where = session.namespace_of(target.resource)
    if target.name:
        return [codec.to_builtins(await session.server.get(target.resource.type, target.name, where))]
    listing = await session.server.list(target.resource.type, where, label_selector=selector)
    return [codec.to_builtins(item) for item in listing.items]


def render(obj: dict[str, Any]) -> Iterator[str]:
    metadata = obj["metadata"]
    yield _pair("Name", metadata["name"])
    if metadata.get("namespace"):
        yield _pair("Namespace", metadata["namespace"])
    yield from _map("Labels", metadata.get("labels", {}))
    annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != QUIET_ANNOTATION}
    yield from _map("Annotations", annotations)
    owners = metadata.get("ownerReferences", [])
    if owners:
        yield _pair("Controlled By", ", ".join(f"{o['kind']}/{o['name']}" for o in owners if o.get("controller")))
    yield _pair("Created", metadata.get("creationTimestamp", ""))
    if metadata.get("deletionTimestamp"):
        yield _pair("Terminating", f"since {metadata['deletionTimestamp']}")
    secret = obj["kind"] == "Secret"
    for field, value in obj.items():
        if field in ("apiVersion", "kind", "metadata"):
            continue
        if secret and field == "data":
            value = {name: f"{len(text) * 3 // 4} bytes" for name, text in value.items()}
        yield from _field(field, value, 0)


def _pair(label: str, value: Any) -> str:
    return f"{label + ':':<{WIDTH}}{value}"


def _map(label: str, pairs: dict[str, str]) -> Iterator[str]:
    lines = [f"{k}={v}" for k, v in sorted(pairs.items())] or ["<none>"]
    yield _pair(label, lines[0])
    for line in lines[1:]:
        yield " " * WIDTH + line


def _title(field: str) -> str:
    spaced = "".join(f" {c}" if c.isupper() and not field[i - 1 : i].isupper() else c for i, c in enumerate(field))
    return spaced[:1].upper() + spaced[1:]


def _field(field: str, value: Any, depth: int) -> Iterator[str]:
    pad = "  " * depth
    if field == "conditions" and isinstance(value, list):
        yield f"{pad}Conditions:"
        for c in value:
            reason = f"  {c.get('reason', '')}: {c.get('message', '')}" if c.get("reason") else ""
            yield f"{pad}  {c.get('type', ''):<28}{c.get('status', ''):<8}{reason}".rstrip()
    elif isinstance(value, dict):
        yield f"{pad}{_title(field)}:" + ("" if value else "  {}")
        for name, inner in value.items():
            yield from _field(name, inner, depth + 1)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield f"{pad}{_title(field)}:"
        for item in value:
            yield f"{pad}  {item.get('name') or item.get('type') or '-'}:"
            for name, inner in item.items():
                if name != "name":
                    yield from _field(name, inner, depth + 2)
    elif isinstance(value, list):
        yield f"{pad}{_title(field) + ':':<{WIDTH}}{', '.join(map(str, value)) or '<none>'}"
    elif isinstance(value, str) and "\n" in value:
        yield f"{pad}{_title(field)}:"
        yield from (f"{pad}  {line}" for line in value.splitlines())
    else:
        yield f"{pad}{_title(field) + ':':<{WIDTH}}{value}"


async def _events(obj: dict[str, Any], session: Session) -> None:
    metadata = obj["metadata"]
    selector = f"involvedObject.name={metadata['name']},involvedObject.kind={obj['kind']}"
    listing = await session.server.list(core_v1.Event, metadata.get("namespace") or "default", field_selector=selector)
    events = [e for e in listing.items if not e.involved_object.uid or e.involved_object.uid == metadata["uid"]]
    if not events:
        session.io.say(_pair("Events", "<none>"))
        return
    now = SystemClock().now()
    session.io.say("Events:")
    rows = [
        (
            f"  {e.type}",
            e.reason,
            _age(e.last_timestamp or e.metadata.creation_timestamp, now) + (f" (x{e.count})" if e.count > 1 else ""),
            e.source.component or e.reporting_component,
            e.message,
        )
        for e in sorted(events, key=lambda e: e.last_timestamp or e.metadata.creation_timestamp or now)
    ]
    output.columns(["  TYPE", "REASON", "AGE", "FROM", "MESSAGE"], rows, session.io)


def _age(then: datetime | None, now: datetime) -> str:
    if then is None:
        return "<unknown>"
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
