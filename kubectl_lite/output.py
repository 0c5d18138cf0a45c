"""How objects and tables look: `-o json|yaml|name|wide`, and the padded columns of a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import yaml

from kubectl_lite.streams import Streams

GAP = 3

_HEALTHY = {"Running", "Ready", "Active", "Bound", "Completed", "Succeeded", "True", "Available"}
_PENDING = {"Pending", "ContainerCreating", "Terminating", "Unknown", "Released", "Ready,SchedulingDisabled"}


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], io: Streams, *, show_header: bool = True) -> None:
    """Left-aligned columns, three spaces apart, no blanks at line ends; statuses in colour on a terminal."""
    body = [[str(cell) for cell in row] for row in rows]
    lines = ([list(header)] if show_header else []) + body
    widths = [max((len(line[i]) for line in lines), default=0) for i in range(len(header))]
    for number, line in enumerate(lines):
        head = show_header and number == 0
        cells = []
        for i, cell in enumerate(line):
            padded = cell if i == len(line) - 1 else cell.ljust(widths[i] + GAP)
            cells.append(padded if head else _tint(padded, cell, io))
        text = "".join(cells).rstrip()
        io.say(io.paint(text, "bold") if head else text)


def _tint(padded: str, cell: str, io: Streams) -> str:
    if not io.colour:
        return padded
    if cell in _HEALTHY:
        return io.paint(padded, "green")
    if cell in _PENDING or cell.startswith(("Init:", "PodInit")):
        return io.paint(padded, "yellow")
    if cell.endswith(("BackOff", "Error", "Failed", "NotReady", "Evicted")) or cell.startswith("Err"):
        return io.paint(padded, "red")
    return padded


def as_yaml(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=1000)


class _Dumper(yaml.SafeDumper):
    """Multi-line strings as blocks, so that a ConfigMap's file reads as one."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def print_objects(objects: Sequence[dict[str, Any]], form: str, io: Streams, *, single: bool) -> None:
    """One object as itself, several as a List."""
    if form == "name":
        for obj in objects:
            io.say(object_name(obj))
        return
    value: Any = objects[0] if single else {"apiVersion": "v1", "kind": "List", "items": list(objects), "metadata": {}}
    if form == "json":
        io.say(json.dumps(value, indent=4, ensure_ascii=False))
    else:
        io.out.write(as_yaml(value))


def object_name(obj: dict[str, Any]) -> str:
    """`pod/web`, `deployment.apps/web`."""
    group = obj.get("apiVersion", "").rpartition("/")[0]
    kind = obj.get("kind", "").lower()
    return f"{kind}.{group}/{obj['metadata']['name']}" if group else f"{kind}/{obj['metadata']['name']}"
