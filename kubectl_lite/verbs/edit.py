"""edit: an object in $KUBE_EDITOR or $EDITOR; what was changed goes back as a patch."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from kubectl_lite import output, yaml_text
from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.errors import Failed
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import report, writing_of

HEAD = "# Edit the object below. Lines beginning with # are left out; an empty file gives up.\n#\n"


def _flags(flags: Flags) -> None:
    flags.files()
    flags.output()
    flags.validation()


async def run(args: argparse.Namespace, session: Session) -> int:
    args.dry_run = "none"
    for one in await choose(args, session):
        await _edit(one, args, session)
    return 0


async def _edit(one: Chosen, args: argparse.Namespace, session: Session) -> None:
    live = output.plain(await session.server.get(one.resource, one.name, one.namespace))
    before = HEAD + output.as_yaml(live)
    after = await asyncio.to_thread(edited, before, session.environ)
    documents = [d for d in yaml_text.load(after) if d] if after != before else []
    if not documents or documents[0] == live:
        session.io.tell("Edit cancelled, no changes made.")
        return
    patch = difference(live, documents[0])
    obj = await session.server.patch(one.resource, one.name, patch, one.namespace, writing=writing_of(args, session))
    report(args, session, obj, "edited")


def edited(text: str, environ: dict[str, str]) -> str:
    """Raises Failed when the editor fails; the text is kept in its file then."""
    editor = environ.get("KUBE_EDITOR") or environ.get("EDITOR") or "vi"
    handle, name = tempfile.mkstemp(prefix="kubectl-lite-edit-", suffix=".yaml")
    with os.fdopen(handle, "w") as out:
        out.write(text)
    try:
        done = subprocess.run([*shlex.split(editor), name], check=False)
    except OSError as error:
        raise Failed(f"unable to launch the editor {editor!r}: {error}; set KUBE_EDITOR") from error
    if done.returncode:
        raise Failed(f"there was a problem with the editor {editor!r}; the text is in {name}")
    after = Path(name).read_text()
    Path(name).unlink()
    return after


def difference(before: Any, after: Any) -> dict[str, Any]:
    """The JSON merge patch from one object to the other; at the version that was edited."""
    patch: dict[str, Any] = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if key not in after:
            patch[key] = None
        elif isinstance(old, dict) and isinstance(new, dict):
            if inner := difference(old, new):
                patch[key] = inner
        elif old != new:
            patch[key] = new
    return patch


VERB = Verb(
    help="Change an object in an editor ($KUBE_EDITOR, $EDITOR, vi).",
    usage="(TYPE NAME | TYPE/NAME) [flags]",
    examples="kubectl-lite edit deploy/web\nKUBE_EDITOR=nano kubectl-lite edit cm web",
    flags=_flags,
    run=run,
)
