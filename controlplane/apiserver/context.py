"""Who asks, and how the request is to be taken; the same for both doors and for callers in the same process."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from controlplane.apiserver.auth.attributes import User


class RequestContext(Struct, frozen=True, gc=False):
    user: str = "system:admin"
    groups: tuple[str, ...] = ("system:masters",)
    field_manager: str = ""
    field_validation: str = "Warn"
    """Strict, Warn or Ignore."""
    dry_run: bool = False
    warnings: list[str] = []
    """What the caller should be told beside the answer; filled while the request is worked on."""
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = {}

    @property
    def who(self) -> User:
        return User(self.user, self.groups, self.uid, self.extra)
