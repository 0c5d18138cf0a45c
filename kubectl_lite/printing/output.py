"""How objects look: `-o json|yaml|name|jsonpath=...|go-template=...|custom-columns=...`, and the columns of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.printing.tabs import align
from kubectl_lite.streams import Streams

Object = dict[str, Any]
Printer = Callable[[Object], str]
"""From an object (a List, for several) to the text to print, its last newline included where there is one."""

_HEALTHY = {"Running", "Ready", "Active", "Bound", "Completed", "Complete", "Succeeded", "True", "Available"}
_PENDING = {"Pending", "ContainerCreating", "Terminating", "Unknown", "Released", "Ready,SchedulingDisabled"}
_MISFORTUNES = ("BackOff", "Error", "Failed", "NotReady", "Evicted")


def columns(header: Sequence[str], rows: Iterable[Sequence[str]], io: Streams, *, show_header: bool = True) -> None:
    """kubectl's tables: columns at least six wide, three blanks between; on a terminal statuses in colour."""
    body = [[_one_line(cell) for cell in row] for row in rows]
    lines = ([list(header)] if show_header else []) + body
    aligned = align(["\t".join(line) for line in lines], least=6, gap=3)
    if not io.colour:
        io.out.write("".join(f"{line}\n" for line in aligned))
        return
    for number, (text, cells) in enumerate(zip(aligned, lines, strict=True)):
        io.say(io.paint(text, "bold") if show_header and number == 0 else _tinted(text, cells, io))


def _one_line(cell: Any) -> str:
    text = str(cell)
    if "\n" in text or "\t" in text:
        text = text.replace("\t", " ").partition("\n")[0] + ("..." if "\n" in text else "")
    return text


def _tinted(text: str, cells: Sequence[str], io: Streams) -> str:
    for cell in cells[1:]:
        colour = ""
        if cell in _HEALTHY:
            colour = "green"
        elif cell in _PENDING or cell.startswith(("Init:", "PodInit")):
            colour = "yellow"
        elif cell.endswith(_MISFORTUNES) or cell.startswith("Err"):
            colour = "red"
        if colour:
            return text.replace(f" {cell}", f" {io.paint(cell, colour)}", 1)
    return text


# ------------------------------------------------------------------ forms of -o


def printer(
    form: str, *, here: Path = Path(), managed_fields: bool = False, headers: bool = True, given: str = ""
) -> Printer | None:
    """None for "" and "wide". Raises UsageError for a form that there is not. `given`: the template, by its own flag."""
    kind, eq, template = (form or ("go-template" if given else "")).partition("=")
    if kind in ("", "wide"):
        return None
    if kind == "json":
        return lambda obj: as_json(obj if managed_fields else plain(obj))
    if kind == "yaml":
        return lambda obj: as_yaml(obj if managed_fields else plain(obj))
    if kind == "name":
        return lambda obj: "".join(f"{object_name(one)}\n" for one in items_of(obj))
    if kind in ("go-template", "template", "go-template-file", "templatefile"):
        return _go_template(kind, template or given, here)
    if kind in ("jsonpath-file", "custom-columns-file"):
        if not template:
            raise UsageError(f"-o {kind}=FILE: name the file")
        template = (here / template).read_text().strip("\n")
        kind = kind.removesuffix("-file")
    elif kind in ("jsonpath", "jsonpath-as-json", "custom-columns") and not eq:
        raise UsageError(f"template format specified but no template given: write -o {kind}=TEMPLATE")
    if kind in ("jsonpath", "jsonpath-as-json"):
        return _jsonpath(template, as_list=kind == "jsonpath-as-json")
    if kind == "custom-columns":
        return custom_columns(template, headers=headers)
    raise UsageError(
        f'unable to match a printer suitable for the output format "{form}", allowed formats are: '
        "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,jsonpath-as-json,"
        "jsonpath-file,name,template,templatefile,wide,yaml"
    )


def _go_template(kind: str, template: str, here: Path) -> Printer:
    from kubectl_lite.printing import gotemplate_run
    from kubectl_lite.printing.gotemplate_nodes import TemplateError

    if not template:
        raise UsageError("template format specified but no template given")
    if kind.endswith("file"):
        try:
            template = (here / template).read_text()
        except OSError as error:
            why = f"open {template}: {(error.strerror or str(error)).lower()}"
            raise UsageError(f"error reading --template {template}, {why}") from error
    try:
        render = gotemplate_run.compiled(template)
    except TemplateError as error:
        raise UsageError(f"error parsing template {template}, {error}") from error

    def show(obj: Object) -> str:
        try:
            return render(obj)
        except gotemplate_run.Failure as error:
            raise Failed(str(error), written=error.written) from error

    return show


def _jsonpath(template: str, *, as_list: bool) -> Printer:
    from kubectl_lite.printing import jsonpath

    try:
        compiled = jsonpath.parse(template)
    except jsonpath.JsonPathError as error:
        raise UsageError(f"error parsing jsonpath: {error}") from error

    def show(obj: Object) -> str:
        try:
            return as_json(compiled.results(obj)) if as_list else compiled.render(obj)
        except jsonpath.JsonPathError as error:
            raise Failed(f"error executing jsonpath {template!r}: {error}") from error

    return show


def custom_columns(spec: str, *, headers: bool = True) -> Printer:
    """Of `NAME:.metadata.name,NODE:.spec.nodeName`."""
    from kubectl_lite.printing import jsonpath

    if not spec:
        raise UsageError("custom-columns format specified but no custom columns given")
    names, paths = [], []
    for column in _split_columns(spec):
        name, colon, path = column.partition(":")
        if not colon:
            raise UsageError(f"unexpected custom-columns spec: {column}, expected <header>:<json-path-expr>")
        names.append(name)
        try:
            paths.append(jsonpath.parse(jsonpath.relaxed(path)))
        except jsonpath.JsonPathError as error:
            raise UsageError(str(error)) from error

    def show(obj: Object) -> str:
        lines = ["\t".join(names)] if headers else []
        for one in items_of(obj):
            found = [path.results(one) for path in paths]
            lines.append("\t".join(",".join(map(_cell, values)) or "<none>" for values in found))
        return "".join(f"{line}\n" for line in align(lines, least=6, gap=3))

    return show


def _split_columns(spec: str) -> list[str]:
    """At commas outside brackets."""
    found, depth = [""], 0
    for char in spec:
        depth += (char in "[(") - (char in ")]")
        if char == "," and depth == 0:
            found.append("")
        else:
            found[-1] += char
    return found


def _cell(value: Any) -> str:
    if value is None:
        return "<none>"
    if isinstance(value, dict):
        return "map[" + " ".join(f"{k}:{_cell(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_cell, value)) + "]"
    from kubectl_lite.printing.jsonpath import show

    return show(value)


def items_of(obj: Object) -> list[Object]:
    if obj.get("kind", "").endswith("List") and isinstance(obj.get("items"), list):
        return list(obj["items"])
    return [obj]


def list_of(objects: Sequence[Object]) -> Object:
    return {"apiVersion": "v1", "items": list(objects), "kind": "List", "metadata": {"resourceVersion": ""}}


def plain(obj: Object) -> Object:
    """Without managed fields."""
    if "items" in obj and isinstance(obj["items"], list):
        return obj | {"items": [plain(one) if isinstance(one, dict) else one for one in obj["items"]]}
    metadata = obj.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        return obj | {"metadata": {k: v for k, v in metadata.items() if k != "managedFields"}}
    return obj


def as_json(value: Any) -> str:
    return json.dumps(value, indent=4, ensure_ascii=False, sort_keys=True) + "\n"


def as_yaml(value: Any) -> str:
    from kubectl_lite.printing.yaml_text import dump

    return dump(value)


def object_name(obj: Object) -> str:
    """`pod/web`, `deployment.apps/web`."""
    group = obj.get("apiVersion", "").rpartition("/")[0]
    kind = obj.get("kind", "").lower()
    name = obj.get("metadata", {}).get("name", "")
    return f"{kind}.{group}/{name}" if group else f"{kind}/{name}"
