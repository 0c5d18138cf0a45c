"""replace: whole objects by those of manifests."""

from __future__ import annotations

import argparse

from kubectl_lite.choosing import Chosen
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import read
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
        raise UsageError("must specify -f")
    server = session.server
    for m in manifests:
        live = await server.get(m.resource, m.name, m.namespace)
        writing, obj = writing_of(args, session), m.object
        if dry_run_of(args, session) == "client":
            pass
        elif args.force:
            await server.delete(m.resource, m.name, m.namespace, grace=0, dry_run=writing.dry_run)
            if not writing.dry_run:
                await gone(Chosen(m.resource, m.name, m.namespace), session)
                plain = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "uid")}
                obj = await server.create(m.resource, obj | {"metadata": plain}, m.namespace, writing=writing)
        else:
            version = obj["metadata"].get("resourceVersion") or live["metadata"]["resourceVersion"]
            obj = obj | {"metadata": obj["metadata"] | {"resourceVersion": version}}
            obj = await server.update(m.resource, obj, m.namespace, writing=writing)
        report(args, session, obj, "replaced")
    return 0


VERB = Verb(
    help="Replace objects by those of manifests: fields that the manifest lacks go.",
    usage="-f FILE [flags]",
    examples="kubectl-lite get deploy web -o yaml | sed s/1.0/1.1/ | kubectl-lite replace -f -",
    flags=_flags,
    run=run,
)
