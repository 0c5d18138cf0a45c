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

from kubeapi.errors import BadRequest, Forbidden, Invalid
from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.errors import Failed
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output, yaml_text
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import report, writing_of

HEAD = "# Edit the object below. Lines beginning with # are left out; an empty file, or one without changes, gives up.\n#\n"


def _flags(flags: Flags) -> None:
    flags.files()
    flags.output()
    flags.validation()


async def run(args: argparse.Namespace, session: Session) -> int:
    args.dry_run = "none"
    return max([await _edit(one, args, session) for one in await choose(args, session)], default=0)


async def _edit(one: Chosen, args: argparse.Namespace, session: Session) -> int:
    """What the server refuses comes back into the editor, with the reason above it."""
    live = output.plain(await session.server.get(one.resource, one.name, one.namespace))
    head, body = HEAD, output.as_yaml(live)
    refused = False
    while True:
        after = without_head(await asyncio.to_thread(edited, head + body, session.environ))
        if not after.strip() or after == body:
            return _given_up(body, refused, session)
        body = after
        try:
            patch = difference(live, _parsed(body))
            if not patch:
                return _given_up(body, refused, session)
            obj = await session.server.patch(
                one.resource, one.name, patch, one.namespace, writing=writing_of(args, session)
            )
        except (BadRequest, Invalid, Forbidden) as error:
            refused = True
            head = HEAD + "".join(f"# {line}\n" for line in explain(error, session.address).splitlines()) + "#\n"
            session.io.err.write(explain(error, session.address))
            continue
        report(args, session, obj, "edited")
        return 0


def _given_up(body: str, refused: bool, session: Session) -> int:
    """What was typed in vain is not thrown away."""
    if not refused:
        session.io.tell("Edit cancelled, no changes made.")
        return 0
    session.io.fail(f"Edit cancelled, no valid changes were saved. A copy of your changes is in {_kept(body)}")
    return 1


def _parsed(text: str) -> Any:
    documents = [document for document in yaml_text.load(text) if document]
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise BadRequest(f"one object is wanted here, not {len(documents)}")
    return documents[0]


def without_head(text: str) -> str:
    lines = text.splitlines(keepends=True)
    while lines and lines[0].startswith("#"):
        lines.pop(0)
    return "".join(lines)


def _kept(text: str) -> str:
    handle, name = tempfile.mkstemp(prefix="kubectl-lite-edit-", suffix=".yaml")
    with os.fdopen(handle, "w") as out:
        out.write(text)
    return name


def edited(text: str, environ: dict[str, str]) -> str:
    """Raises Failed when the editor fails; the text is kept in its file then."""
    editor = environ.get("KUBE_EDITOR") or environ.get("EDITOR") or "vi"
    name = _kept(text)
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
    """The JSON merge patch from one object to the other: what was not touched keeps what others write meanwhile."""
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
