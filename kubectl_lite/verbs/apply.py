"""apply: make the cluster look like the manifests; the three-way merge is kubectl_lite.merge3."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kubeapi import codec
from kubeapi.errors import AlreadyExists, Conflict, NotFound
from kubeapi.patch import merge_key_of
from kubectl_lite import output
from kubectl_lite.manifests import Manifest, read
from kubectl_lite.merge3 import merge
from kubectl_lite.session import Session

HELP = "create or change objects so that they match manifests"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
ATTEMPTS = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", action="append", required=True, help="file, folder, or - (repeatable)")
    parser.add_argument("-R", "--recursive", action="store_true", help="folders with all that is below them")
    parser.add_argument("-o", "--output", choices=["json", "yaml", "name"], default="")


async def run(args: argparse.Namespace, session: Session) -> int:
    manifests = read(args.filename, session.io, namespace=session.namespace, recursive=args.recursive)
    for manifest in sorted(manifests, key=lambda m: m.resource.kind != "Namespace"):
        obj, outcome = await apply(manifest, session)
        if args.output:
            output.print_objects([obj], args.output, session.io, single=True)
        else:
            session.io.say(f"{output.object_name(obj)} {outcome}")
    return 0


async def apply(manifest: Manifest, session: Session) -> tuple[dict[str, Any], str]:
    """Returns the object as it is now, and `created`, `configured` or `unchanged`."""
    wanted = _with_last_applied(manifest.object)
    type_ = manifest.resource.type
    codec.from_builtins(type_, wanted)
    for attempt in range(ATTEMPTS):
        try:
            live = codec.to_builtins(await session.server.get(type_, manifest.name, manifest.namespace))
        except NotFound:
            try:
                made = await session.server.create(codec.from_builtins(type_, wanted))
                return codec.to_builtins(made), "created"
            except AlreadyExists:
                continue
        merged = three_way(manifest, wanted, live)
        if merged == live:
            return live, "unchanged"
        try:
            written = await session.server.update(codec.from_builtins(type_, merged))
            return codec.to_builtins(written), "configured"
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
    raise Conflict(f"{manifest.name}: changed by others {ATTEMPTS} times while it was applied; apply it again")


def three_way(manifest: Manifest, wanted: dict[str, Any], live: dict[str, Any]) -> dict[str, Any]:
    record = live.get("metadata", {}).get("annotations", {}).get(LAST_APPLIED, "{}")
    try:
        last = json.loads(record)
    except ValueError:
        last = {}
    merged: dict[str, Any] = merge(last, wanted, live, lambda path: merge_key_of(manifest.resource.type, path))
    return merged


def _with_last_applied(obj: dict[str, Any]) -> dict[str, Any]:
    metadata = dict(obj["metadata"])
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    plain = obj | {"metadata": metadata | {"annotations": annotations}}
    record = json.dumps(plain, separators=(",", ":"), sort_keys=True, default=str) + "\n"
    return obj | {"metadata": metadata | {"annotations": annotations | {LAST_APPLIED: record}}}
