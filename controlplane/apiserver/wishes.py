"""What a client's words mean: versions, continue tokens, patches, and what a watcher sees of a change. Pure."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from controlplane.apiserver.collection import Step
from controlplane.apiserver.context import RequestContext
from controlplane.apiserver.items import ApiEvent, Item
from kubeapi import patch
from kubeapi.errors import BadRequest, FieldError, Invalid

PatchKind = Literal["strategic", "merge", "json"]


def read_version(text: str) -> int:
    """Raises BadRequest."""
    if not text:
        return 0
    if not text.isdecimal() or len(text) > 19:
        raise BadRequest(f"resourceVersion: Invalid value: {text[:40]!r}: must be a whole number")
    return int(text)


def check_version_match(version: str, match: str, continue_: str) -> None:
    """Raises Invalid, in the words of the Kubernetes API concepts."""
    path, text = "resourceVersionMatch", ""
    if match and match not in ("Exact", "NotOlderThan"):
        text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
    elif match and continue_:
        text = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
    elif match and not version:
        text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    elif match == "Exact" and version == "0":
        text = 'Forbidden: resourceVersionMatch "Exact" is forbidden for resourceVersion "0"'
    elif continue_ and version not in ("", "0"):
        path, text = "resourceVersion", "Forbidden: specifying resource version is not allowed when using continue"
    if text:
        raise Invalid([FieldError(path, text)])


def write_token(key: str, revision: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([revision, key])).decode().rstrip("=")


def read_token(text: str) -> tuple[str, int]:
    """Raises BadRequest."""
    try:
        padded = text + "=" * (-len(text) % 4)
        revision, key = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=tuple[int, str])
    except (ValueError, msgspec.MsgspecError):
        raise BadRequest("continue key is not valid: it must be the token that an earlier list returned") from None
    return key, revision


def as_event(step: Step, prefix: str, wanted: Callable[[Any], bool]) -> ApiEvent | None:
    """What a watcher with these bounds sees of a change; None where it sees nothing."""
    item = step.new or step.old
    if item is None or not item.key.startswith(prefix):
        return None
    before = step.old is not None and wanted(step.old.object)
    after = step.new is not None and wanted(step.new.object)
    if step.new is not None and after:
        return ApiEvent("MODIFIED" if before else "ADDED", step.new, step.revision)
    if not before or step.old is None:
        return None
    if step.new is None:
        return ApiEvent("DELETED", step.old, step.revision)
    return ApiEvent("DELETED", Item.at(item.key, step.old.object, step.revision), step.revision)


def apply_patch(type_: Any, old: dict[str, Any], body: Any, kind: PatchKind) -> Any:
    """Raises BadRequest, Invalid."""
    if kind == "json":
        return patch.json_patch(old, body)
    if not isinstance(body, Mapping):
        raise BadRequest(f"a {kind} patch is an object")
    if kind == "merge":
        return patch.merge_patch(old, body)
    return patch.strategic_merge_patch(type_, old, body)


def report_problems(ctx: RequestContext, problems: Sequence[str]) -> None:
    """Unknown and duplicate fields, as fieldValidation asks. Raises BadRequest when it is Strict."""
    if not problems or ctx.field_validation == "Ignore":
        return
    if ctx.field_validation == "Strict":
        raise BadRequest(f"strict decoding error: {', '.join(problems)}")
    ctx.warnings.extend(p for p in problems if p not in ctx.warnings)
