"""apply: make the cluster look like the manifests; the three-way merge is kubectl_lite.merge3."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kubeapi.errors import AlreadyExists, ApiError, Conflict, NotFound
from kubectl_lite.applying import LAST_APPLIED, never_applied, three_way, with_last_applied
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import Manifest, read
from kubectl_lite.running import explain
from kubectl_lite.server import Writing
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import dry_run_of, report, writing_of

ATTEMPTS = 5


def _flags(flags: Flags) -> None:
    flags.files()
    flags.output()
    flags.dry_run()
    flags.validation()
    flags.value("-l", "--selector", help="only the manifests' objects with these labels", metavar="LABELS")
    for absent in ("--prune", "--server-side", "--force-conflicts"):
        flags.switch(absent, help=argparse.SUPPRESS)
    flags.switch("--force", help="delete and create anew what cannot be changed")
    flags.switch("--overwrite", default=True, help=argparse.SUPPRESS)
    flags.value("--field-manager", help=argparse.SUPPRESS)


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.prune:
        raise UsageError(
            "--prune is not supported: what it would delete depends on what else has been applied.\n"
            "Delete by label (`delete -l ...`) or by manifest (`delete -f ...`) instead."
        )
    if args.server_side or args.force_conflicts:
        raise UsageError("--server-side is not supported: apply merges on the client, as kubectl does by default")
    if args.words:
        raise UsageError(f"unexpected arguments: {' '.join(args.words)}; what to apply is named with -f")
    manifests = await read(args, session)
    if not (args.filename or args.kustomize):
        raise UsageError("must specify one of -f and -k")
    if args.selector:
        from kubeapi.selectors import parse_label_selector

        query = parse_label_selector(args.selector)
        manifests = [m for m in manifests if query.matches(m.object["metadata"].get("labels") or {})]
    if not manifests:
        raise UsageError("no objects passed to apply")
    status = 0
    for manifest in manifests:
        try:
            obj, outcome = await apply(manifest, args, session)
        except ApiError as error:
            session.io.err.write(explain(error, session.address, when="applying", source=manifest.source))
            status = 1
            continue
        report(args, session, obj, outcome)
    return status


async def apply(manifest: Manifest, args: Any, session: Session) -> tuple[dict[str, Any], str]:
    """Returns the object as it is now, and `created`, `configured` or `unchanged`."""
    if not manifest.name:
        raise UsageError(f"{manifest.source}: metadata.name is required by apply; use create for generateName")
    writing, dry = writing_of(args, session), dry_run_of(args, session)
    wanted, server = with_last_applied(manifest.object), session.server
    resource, namespace = manifest.resource, manifest.namespace
    for attempt in range(ATTEMPTS):
        try:
            live = await server.get(resource, manifest.name, namespace)
        except NotFound:
            if dry == "client":
                return wanted, "created"
            try:
                return await server.create(resource, wanted, namespace, writing=writing), "created"
            except AlreadyExists:
                continue
        if never_applied(live) and dry == "none":
            session.io.warn(
                f"resource {resource.plural}/{manifest.name} is missing the {LAST_APPLIED} annotation which is "
                "required by kubectl-lite apply. It will be patched automatically."
            )
        merged = three_way(manifest, wanted, live)
        if _same(merged, live):
            return live, "unchanged"
        if dry == "client":
            return merged, "configured"
        try:
            written = await server.update(resource, merged, namespace, writing=writing)
        except Conflict:
            if attempt == ATTEMPTS - 1:
                raise
            continue
        except ApiError as error:
            if not args.force or error.reason != "Invalid":
                raise
            return await _anew(manifest, wanted, writing, session), "configured"
        same = _version(written) == _version(live) and not writing.dry_run
        return written, "unchanged" if same else "configured"
    raise Conflict(f"{manifest.name}: changed by others {ATTEMPTS} times while it was applied; apply it again")


def _same(merged: dict[str, Any], live: dict[str, Any]) -> bool:
    return json.dumps(merged, sort_keys=True) == json.dumps(live, sort_keys=True)


def _version(obj: dict[str, Any]) -> str:
    return str(obj["metadata"].get("resourceVersion", ""))


async def _anew(manifest: Manifest, wanted: dict[str, Any], writing: Writing, session: Session) -> dict[str, Any]:
    """--force: the object may be without its finalizers' work for a moment."""
    from kubectl_lite.choosing import Chosen
    from kubectl_lite.verbs.delete import gone

    chosen = Chosen(manifest.resource, manifest.name, manifest.namespace)
    await session.server.delete(chosen.resource, chosen.name, chosen.namespace, propagation="Background")
    await gone(chosen, session)
    return await session.server.create(manifest.resource, wanted, manifest.namespace, writing=writing)


VERB = Verb(
    help="Create or change objects so that they match manifests.\n\n"
    "Fields that the manifest had when it was applied last and has no more are removed; fields that only others\n"
    "have set stay.",
    usage="-f FILE [flags]",
    examples="""
# A file, a folder with all below it, standard input
kubectl-lite apply -f web.yaml
kubectl-lite apply -R -f manifests/
cat web.yaml | kubectl-lite apply -f -
# What would happen, asked of the server
kubectl-lite apply -f web.yaml --dry-run=server
""",
    flags=_flags,
    run=run,
)
