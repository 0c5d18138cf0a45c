"""What the verbs that write have in common: dry runs, validation, and what is said of the result."""

from __future__ import annotations

from typing import Any

from kubectl_lite.errors import UsageError
from kubectl_lite.printing import output
from kubectl_lite.server import Writing
from kubectl_lite.session import Session

_VALIDATION = {"true": "Strict", "strict": "Strict", "warn": "Warn", "false": "Ignore", "ignore": "Ignore"}


def dry_run_of(args: Any, session: Session) -> str:
    """none, client or server."""
    if args.dry_run == "unchanged":
        session.io.warn("--dry-run is deprecated and can be replaced with --dry-run=client.")
        return "client"
    return str(args.dry_run)


def writing_of(args: Any, session: Session) -> Writing:
    word = getattr(args, "validate", "strict").lower()
    if word not in _VALIDATION:
        raise UsageError(f'invalid --validate="{word}": write strict, warn or ignore')
    return Writing(dry_run=dry_run_of(args, session) == "server", validation=_VALIDATION[word])


def report(args: Any, session: Session, obj: dict[str, Any], outcome: str) -> None:
    """The object in the form of -o, or one line: `pod/web created (dry run)`."""
    show = output.printer(
        getattr(args, "output", ""),
        here=session.here,
        managed_fields=getattr(args, "show_managed_fields", False),
        given=getattr(args, "template", ""),
    )
    if show is not None:
        text = show(obj)
        session.io.out.write("---\n" * getattr(args, "printed", 0) * (args.output == "yaml") + text)
        args.printed = 1
        return
    note = {"client": " (dry run)", "server": " (server dry run)"}.get(getattr(args, "dry_run", "none"), "")
    if getattr(args, "dry_run", "none") == "unchanged":
        note = " (dry run)"
    session.io.say(f"{output.object_name(obj)} {outcome}{note}")
