"""kubectl-lite: one file a verb below `verbs/`, imported only when it is asked for.

Finds the cluster in the kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config), talks gRPC to it, and turns every
error into text that says what to do. Exit codes are kubectl's: 0 done, 1 refused, failed or wrongly used, 130
interrupted; `exec` and `run` pass the command's own code on, `diff` has 1 for a difference and 2 for a failure.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping, Sequence

from kubectl_lite.streams import Streams, terminal
from kubectl_lite.table import ABSENT, GROUPS, HIDDEN, VERBS, load


def main(argv: Sequence[str] | None = None, io: Streams | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Does not return when it writes to the process's own streams."""
    words = list(sys.argv[1:] if argv is None else argv)
    around = dict(os.environ if environ is None else environ)
    if io is not None:
        return finished(words, io, around)
    # Imports make nothing but what stays: to look for garbage meanwhile finds none. Long commands still get rid of theirs.
    gc.set_threshold(200_000)
    code = finished(words, terminal(no_color="NO_COLOR" in around), around)
    # To take gRPC and 300 modules down again takes as long as a request.
    sys.stderr.flush()
    os._exit(code)


def finished(words: list[str], streams: Streams, around: dict[str, str]) -> int:
    """The exit code, all output written."""
    try:
        try:
            return dispatch(words, streams, around)
        finally:
            streams.out.flush()
    except BrokenPipeError:
        # Who read our output has seen enough. Python's own flush at exit must not fail on it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return int(leaving.code or 0)


def dispatch(words: list[str], io: Streams, environ: dict[str, str]) -> int:
    from kubectl_lite.errors import UsageError

    try:
        name, rest = find_verb(words)
    except UsageError as error:
        io.fail(str(error))
        return 1
    if not name:
        io.out.write(overview())
        return 0
    if name in ABSENT:
        io.fail(f'kubectl-lite has no "{name}"; {ABSENT[name]}')
        return 1
    if name not in VERBS and name not in HIDDEN:
        io.fail(f'unknown command "{name}" for "kubectl-lite"{_nearest(name)}')
        return 1
    from kubectl_lite.running import run_verb

    return run_verb(name, load(name), rest, io, environ)


_BEFORE = ("-n", "--namespace", "--kubeconfig", "--context", "--request-timeout", "--as", "--as-group", "--as-uid")
"""Flags with a value that may stand before the verb. Not imported: the list of verbs needs no argparse."""


def find_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb and the other words; common flags may stand before it."""
    from kubectl_lite.errors import UsageError

    at = 0
    while at < len(words):
        word = words[at]
        if not word.startswith("-"):
            return word, words[:at] + words[at + 1 :]
        if word in ("-h", "--help"):
            return "", []
        if word in _BEFORE:
            at += 1
        elif not word.startswith(("-n", *(f"{name}=" for name in _BEFORE))):
            raise UsageError(f"unknown flag {word} before the command\nRun 'kubectl-lite --help' for usage.")
        at += 1
    return "", []


def overview() -> str:
    lines = ["kubectl-lite talks to a Sampan cluster.", ""]
    for key, title in GROUPS.items():
        lines.append(f"{title}:")
        lines += [f"  {name:<15} {text}" for name, (group, _, text) in VERBS.items() if group == key]
        lines.append("")
    lines.append("Use 'kubectl-lite COMMAND --help' for the flags of a command, with examples.")
    return "\n".join(lines) + "\n"


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name, VERBS, n=3)
    hint = "\nDid you mean this?\n" + "".join(f"\t{word}\n" for word in near) if near else ""
    return f"{hint}\nRun 'kubectl-lite --help' for usage."


if __name__ == "__main__":
    sys.exit(main())
