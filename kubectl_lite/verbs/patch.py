"""patch: fields of an object, as a strategic merge, a merge or a JSON patch."""

from __future__ import annotations

import argparse
import json
from typing import Any

from kubectl_lite.choosing import choose
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import report, writing_of


def _flags(flags: Flags) -> None:
    flags.files()
    flags.choice("--type", choices=["strategic", "merge", "json"], default="strategic", help="of the patch")
    flags.value("-p", "--patch", help="in JSON or YAML", metavar="PATCH")
    flags.value("--patch-file", help="a file with it", metavar="FILE")
    flags.value("--subresource", help="status or scale", metavar="NAME")
    flags.dry_run()
    flags.output()


async def run(args: argparse.Namespace, session: Session) -> int:
    if bool(args.patch) == bool(args.patch_file):
        raise UsageError("must specify --patch or --patch-file containing the contents of the patch")
    body = parse(args.patch or (session.here / args.patch_file).read_text())
    if not isinstance(body, list if args.type == "json" else dict):
        raise UsageError(f"a {args.type} patch is {'a list of operations' if args.type == 'json' else 'a mapping'}")
    if args.dry_run in ("client", "unchanged"):
        raise UsageError("patch knows no --dry-run=client: the server merges; use --dry-run=server")
    for one in await choose(args, session):
        before = await session.server.get(one.resource, one.name, one.namespace)
        kind = "merge" if args.type == "strategic" and not one.resource.module else args.type
        obj = await session.server.patch(
            one.resource,
            one.name,
            body,
            one.namespace,
            kind=kind,
            subresource=args.subresource,
            writing=writing_of(args, session),
        )
        same = before["metadata"].get("resourceVersion") == obj["metadata"].get("resourceVersion")
        report(args, session, obj, "patched (no change)" if same and args.dry_run == "none" else "patched")
    return 0


def parse(text: str) -> Any:
    """JSON if it begins so: read as YAML, `{data:{a:b}}` would be a field named `data:{a:b}`. Else YAML."""
    if text.lstrip().startswith(("{", "[")):
        try:
            return json.loads(text)
        except ValueError as error:
            raise UsageError(f"unable to parse {text!r}: {error}; mind the shell's quotes: -p '{{...}}'") from error
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"unable to parse {text!r}: {error}") from error


VERB = Verb(
    help="Change fields of an object.",
    usage="(-f FILE | TYPE NAME) -p PATCH [flags]",
    examples="""
kubectl-lite patch deploy web -p '{"spec":{"replicas":3}}'
kubectl-lite patch node n1 --type=json -p '[{"op":"remove","path":"/spec/taints"}]'
""",
    flags=_flags,
    run=run,
)
