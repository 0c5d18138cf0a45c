"""diff: what applying manifests would change; the server works it out in a dry run. Exit code 1: there is a difference."""

from __future__ import annotations

import argparse
import difflib
from typing import Any

from kubeapi.errors import NotFound
from kubectl_lite.applying import LAST_APPLIED, three_way, with_last_applied
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import Manifest, read
from kubectl_lite.printing import output
from kubectl_lite.server import Writing
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.files()
    flags.switch("--show-managed-fields", help="managed fields too")


async def run(args: argparse.Namespace, session: Session) -> int:
    manifests = await read(args, session)
    if not manifests:
        raise UsageError("must specify -f")
    different = False
    for manifest in manifests:
        live, merged = await _both(manifest, session)
        before, after = (output.as_yaml(without_record(output.plain(o))) if o else "" for o in (live, merged))
        resource = manifest.resource
        name = f"{resource.api_version.replace('/', '.')}.{resource.kind}.{manifest.namespace}.{manifest.name}"
        lines = list(
            difflib.unified_diff(before.splitlines(), after.splitlines(), f"LIVE/{name}", f"MERGED/{name}", lineterm="")
        )
        for line in lines:
            colour = {"+": "green", "-": "red", "@": "dim"}.get(line[:1])
            session.io.say(session.io.paint(line, colour) if colour else line)
        different = different or bool(lines)
    return 1 if different else 0


async def _both(manifest: Manifest, session: Session) -> tuple[dict[str, Any], dict[str, Any]]:
    server, dry = session.server, Writing(dry_run=True)
    wanted = with_last_applied(manifest.object)
    try:
        live = await server.get(manifest.resource, manifest.name, manifest.namespace)
    except NotFound:
        return {}, await server.create(manifest.resource, wanted, manifest.namespace, writing=dry)
    merged = three_way(manifest, wanted, live)
    return live, await server.update(manifest.resource, merged, manifest.namespace, writing=dry)


def without_record(obj: dict[str, Any]) -> dict[str, Any]:
    """What apply notes for itself is no change that anybody wants to see."""
    metadata = obj["metadata"]
    left = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    plain = {k: v for k, v in metadata.items() if k != "annotations"} | ({"annotations": left} if left else {})
    return obj | {"metadata": plain}


VERB = Verb(
    help="Show what applying manifests would change. Exit code 0: nothing, 1: something, more: an error.",
    usage="-f FILE [flags]",
    examples="kubectl-lite diff -f web.yaml",
    flags=_flags,
    run=run,
)
