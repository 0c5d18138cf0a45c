"""What a verb is. Each file below `verbs/` has one, called VERB; `table.py` says which file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubectl_lite.flags import Flags

Run = Callable[[argparse.Namespace, Any], Coroutine[Any, Any, int]]
"""Takes a Session (a Local for a verb that needs no server), returns the exit code."""


def no_flags(flags: Flags) -> None:
    """For a verb that has none but the common ones."""


async def _no_run(args: argparse.Namespace, session: Any) -> int:
    raise AssertionError("a verb with subcommands is never run itself")


@dataclass(frozen=True, slots=True)
class Verb:
    help: str
    """One line, for the list of verbs."""
    usage: str
    """What stands behind the verb: `TYPE[/NAME] [flags]`."""
    examples: str
    """Lines of `# what` and the command, for --help."""
    flags: Callable[[Flags], None] = no_flags
    run: Run = _no_run
    sub: Mapping[str, Verb] = field(default_factory=dict)
    """Subcommands, as of `rollout` and `create`; one of them must be named unless `run` is given too."""
    local: bool = False
    """Needs no server: gets a Local instead of a Session."""
    offline: Callable[[argparse.Namespace], bool] | None = None
    """Says of the flags given that with them it is `local`."""
    awaits: bool = True
    """False: a `local` verb that waits for nothing, and so needs no event loop, whose import costs more than the verb."""

    def is_local(self, args: argparse.Namespace) -> bool:
        return self.local or (self.offline is not None and self.offline(args))

    @property
    def bare(self) -> bool:
        """May be run without naming a subcommand."""
        return self.run is not _no_run
