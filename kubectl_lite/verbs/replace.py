"""replace: whole objects by those of manifests."""

from __future__ import annotations

import argparse
from typing import Any

from kubeapi.errors import ApiError
from kubectl_lite.choosing import Chosen
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import Manifest, read
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.verbs.delete import gone
from kubectl_lite.writing import dry_run_of, report, writing_of


def _flags(flags: Flags) -> None:
    flags.files()
    flags.switch("--force", help="delete, then create anew")
    flags.dry_run()
    flags.validation()
    flags.output()


async def run(args: argparse.Namespace, session: Session) -> int:
    manifests = await read(args, session)
    if not manifests:
        raise UsageError("must specify -f with the manifests of the new objects")
    status = 0
    for m in manifests:
        try:
            obj = await _replace(m, args, session)
        except ApiError as error:
            session.io.err.write(explain(error, session.address, when="replacing", source=m.source))
            status = 1
            continue
        report(args, session, obj, "replaced")
    return status


async def _replace(m: Manifest, args: argparse.Namespace, session: Session) -> dict[str, Any]:
    server, writing, obj = session.server, writing_of(args, session), m.object
    live = await server.get(m.resource, m.name, m.namespace)
    if dry_run_of(args, session) == "client":
        return obj
    if not args.force:
        version = obj["metadata"].get("resourceVersion") or live["metadata"]["resourceVersion"]
        obj = obj | {"metadata": obj["metadata"] | {"resourceVersion": version}}
        return await server.update(m.resource, obj, m.namespace, writing=writing)
    await server.delete(m.resource, m.name, m.namespace, grace=0, dry_run=writing.dry_run)
    if writing.dry_run:
        return obj
    one = Chosen(m.resource, m.name, m.namespace)
    session.io.say(f"{one.quoted} deleted")
    await gone(one, session)
    plain = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "uid")}
    return await server.create(m.resource, obj | {"metadata": plain}, m.namespace, writing=writing)


VERB = Verb(
    help="Replace objects by those of manifests: fields that the manifest lacks go.",
    usage="-f FILE [flags]",
    examples="kubectl-lite get deploy web -o yaml | sed s/1.0/1.1/ | kubectl-lite replace -f -",
    flags=_flags,
    run=run,
)
