"""Who asks, and how the request is to be taken; the same for both doors and for callers in the same process."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RequestContext:
    user: str = "system:admin"
    groups: tuple[str, ...] = ("system:masters",)
    field_manager: str = ""
    field_validation: str = "Warn"
    """Strict, Warn or Ignore."""
    dry_run: bool = False
    warnings: list[str] = field(default_factory=list)
    """What the caller should be told beside the answer; filled while the request is worked on."""
    uid: str = ""
