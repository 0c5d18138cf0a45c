"""Who asks, and how the request is to be taken; the same for both doors and for callers in the same process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.apiserver.auth.attributes import User


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
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def who(self) -> User:
        return User(self.user, self.groups, self.uid, self.extra)
