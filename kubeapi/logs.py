"""One set-up of logs for all components: text for a terminal, JSON lines for machines.

    log.warning("…", extra=about(pod))  ──► {"time", "level", "logger", "message", "object", "node", "request_id", "error"}
    with concerning("Deployment", key): everything that is logged in the block has that object

`object` is what a line is about: kind, namespace and name. It comes from the line itself, or from the block around it:
controllers, the scheduler and pod workers open one for the object that they work on. `request_id` is the request's, see
kubeapi.request_id. In text both stand at the line's end.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TextIO

from kubeapi import request_id

Format = Literal["text", "json"]
FORMATS: tuple[Format, ...] = ("text", "json")
DEBUG_FROM = 4
"""The verbosity from which on everything is logged, as with Kubernetes' components."""
WRITES_FROM = 1
"""The verbosity from which on the API server logs each write."""


@dataclass(frozen=True, slots=True)
class Subject:
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return "/".join(part for part in (self.kind, self.namespace, self.name) if part)

    def fields(self) -> dict[str, str]:
        found = {"kind": self.kind, "namespace": self.namespace, "name": self.name}
        return {name: value for name, value in found.items() if value}


class _Object(Protocol):
    @property
    def kind(self) -> Any: ...
    @property
    def metadata(self) -> Any: ...


_subject: ContextVar[Subject | None] = ContextVar("subject of the log", default=None)


def subject_of(obj: _Object) -> Subject:
    return Subject(obj.kind, obj.metadata.namespace, obj.metadata.name)


def about(obj: _Object | Subject) -> dict[str, Subject]:
    """For `extra` of one line."""
    return {"subject": obj if isinstance(obj, Subject) else subject_of(obj)}


@contextmanager
def concerning(subject: Subject) -> Iterator[None]:
    token = _subject.set(subject)
    try:
        yield
    finally:
        _subject.reset(token)


def concerns(subject: Subject) -> None:
    """The same for the rest of the running task."""
    _subject.set(subject)


def setup(format: Format = "text", *, verbosity: int = 0, node: str = "", stream: TextIO | None = None) -> None:
    """For a composition root, once: the root logger's only handler. `node` stands in every line."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(node=node) if format == "json" else Text())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if verbosity >= DEBUG_FROM else logging.INFO)
    if verbosity >= DEBUG_FROM:
        logging.getLogger("asyncio").setLevel(logging.INFO)


def _about(record: logging.LogRecord) -> tuple[Subject | None, str, dict[str, Any]]:
    """The line's object, its request, and further fields that it was given as `extra={"fields": …}`."""
    subject = getattr(record, "subject", None) or _subject.get()
    given = getattr(record, "request_id", "") or request_id.current.get()
    return subject, given, getattr(record, "fields", None) or {}


class Text(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        subject, given, fields = _about(record)
        ends = [f"{name}={value}" for name, value in fields.items()]
        if subject is not None:
            ends.append(f"object={subject}")
        if given:
            ends.append(f"request_id={given}")
        return " ".join([super().formatMessage(record), *ends])


class JsonLines(logging.Formatter):
    def __init__(self, *, node: str = "") -> None:
        super().__init__()
        self._node = node

    def format(self, record: logging.LogRecord) -> str:
        subject, given, fields = _about(record)
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if subject is not None:
            line["object"] = subject.fields()
        if self._node:
            line["node"] = self._node
        if given:
            line["request_id"] = given
        line |= {name: value for name, value in fields.items() if name not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
