"""The lines of a description: indentation, label and value, maps, lists. Tabs are set later, by kubectl_lite.printing.tabs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubectl_lite.durations import age, rfc1123

Object = dict[str, Any]
HIDDEN_ANNOTATIONS = {"kubectl.kubernetes.io/last-applied-configuration"}
LONGEST_ANNOTATION = 140
NONE = "<none>"


class Lines:
    def __init__(self) -> None:
        self.text: list[str] = []

    def add(self, text: str, level: int = 0) -> None:
        self.text.append("  " * level + text)

    def pair(self, label: str, value: Any, level: int = 0) -> None:
        self.add(f"{label}:\t{value}", level)

    def map(self, label: str, pairs: Mapping[str, Any] | None, level: int = 0, *, sep: str = "=") -> None:
        """`label:  a=b`, one below the other."""
        lines = [f"{k}{sep}{v}" for k, v in sorted((pairs or {}).items())] or [NONE]
        self.pair(label, lines[0], level)
        for line in lines[1:]:
            self.add(f"\t{line}", level)

    def annotations(self, label: str, pairs: Mapping[str, str] | None, level: int = 0) -> None:
        """Long ones, and those of several lines, stand below their key."""
        shown = {k: v for k, v in sorted((pairs or {}).items()) if k not in HIDDEN_ANNOTATIONS}
        if not shown:
            self.pair(label, NONE, level)
            return
        for number, (key, value) in enumerate(shown.items()):
            front = f"{label}:\t" if number == 0 else "\t"
            value = value.rstrip("\n")
            if len(key) + len(value) + 2 < LONGEST_ANNOTATION and "\n" not in value:
                self.add(f"{front}{key}: {value}", level)
                continue
            self.add(f"{front}{key}:", level)
            for line in value.split("\n"):
                cut = line if len(line) <= LONGEST_ANNOTATION else line[: LONGEST_ANNOTATION - 3] + "..."
                self.add(f"\t  {cut}", level)

    def several(self, label: str, values: Sequence[str], level: int = 0) -> None:
        """A heading, and the values below it."""
        self.add(f"{label}:", level)
        for value in values or [NONE]:
            self.add(value, level + 1)

    def head(self, obj: Object, *, namespace: bool = True) -> None:
        metadata = obj["metadata"]
        self.pair("Name", metadata["name"])
        if namespace and metadata.get("namespace"):
            self.pair("Namespace", metadata["namespace"])
        self.map("Labels", metadata.get("labels"))
        self.annotations("Annotations", metadata.get("annotations"))

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]], level: int = 1) -> None:
        self.add("\t".join(header), level)
        self.add("\t".join("-" * len(title) for title in header), level)
        for row in rows:
            self.add("\t".join(str(cell) for cell in row), level)


def metadata(obj: Object) -> Object:
    found: Object = obj.get("metadata") or {}
    return found


def created(obj: Object) -> str:
    return rfc1123(metadata(obj).get("creationTimestamp", ""))


def controller(obj: Object) -> str:
    for owner in metadata(obj).get("ownerReferences") or []:
        if owner.get("controller"):
            return f"{owner['kind']}/{owner['name']}"
    return ""


def selector_text(selector: Object | None) -> str:
    """Of a LabelSelector, as describe shows it."""
    from kubectl_lite.choosing import format_selector

    if selector is None:
        return NONE
    if "matchLabels" in selector or "matchExpressions" in selector or not selector:
        return format_selector(selector) or NONE
    return ",".join(f"{k}={v}" for k, v in sorted(selector.items()))


def events(lines: Lines, found: Sequence[Object] | None, now: datetime) -> None:
    """Oldest first; repeated ones with how often, over how long. None: nobody wants to know."""
    if found is None:
        return
    if not found:
        lines.pair("Events", NONE)
        return
    lines.add("Events:")
    rows = []
    for e in sorted(found, key=event_time):
        source = e.get("source", {}).get("component") or e.get("reportingComponent") or ""
        rows.append([e.get("type", ""), e.get("reason", ""), event_age(e, now), source, e.get("message", "").strip()])
    header = ("Type", "Reason", "Age", "From", "Message")
    lines.add("\t".join(header), 1)
    lines.add("\t".join("-" * 4 if title == "Age" else "-" * len(title) for title in header), 1)
    for row in rows:
        lines.add("\t".join(row), 1)


def event_time(event: Object) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or metadata(event).get("creationTimestamp", "")
    )


def event_age(event: Object, now: datetime) -> str:
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    last = age(event_time(event), now)
    first = event.get("firstTimestamp") or event.get("eventTime") or metadata(event).get("creationTimestamp", "")
    return f"{last} (x{count} over {age(first, now)})" if count > 1 else last
