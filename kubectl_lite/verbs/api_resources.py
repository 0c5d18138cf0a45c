"""api-resources: what this server serves, by which names."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from kubeapi.scheme import Resource
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.value("-o", "--output", help="wide or name", metavar="FORM")
    flags.value("--namespaced", help="only those that are (true) or are not (false)", metavar="BOOL")
    flags.value("--api-group", default="*", help="only of this group; the core group is ''", metavar="GROUP")
    flags.value("--verbs", help="only those that know all of these verbs", metavar="VERBS")
    flags.value("--categories", help="only of these categories", metavar="NAMES")
    flags.value("--sort-by", help="name or kind", metavar="KEY")
    flags.switch("--no-headers", help="rows only")


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.output not in ("", "wide", "name"):
        raise UsageError(f"--output {args.output} is not available; use wide or name")
    if args.sort_by not in ("", "name", "kind"):
        raise UsageError("--sort-by accepts only name or kind")
    wanted = set(filter(None, args.categories.split(",")))
    needed = set(filter(None, args.verbs.split(",")))
    verbs = _verbs(await session.server.discovery())
    found = [
        r
        for r in preferred(await session.names.served())
        if (not args.namespaced or r.namespaced == (args.namespaced == "true"))
        and args.api_group in ("*", r.group)
        and wanted <= set(r.categories)
        and needed <= set(verbs.get((r.group, r.plural), []))
    ]
    found.sort(key={"name": _by_name, "kind": _by_kind}.get(args.sort_by or "", _by_group))
    if args.output == "name":
        for r in found:
            session.io.say(r.qualified)
        return 0
    rows = []
    for r in found:
        row = [r.plural, ",".join(r.short), r.api_version, str(r.namespaced).lower(), r.kind]
        if args.output == "wide":
            row += [",".join(verbs.get((r.group, r.plural), [])), ",".join(r.categories)]
        rows.append(row)
    header = ["NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND"]
    header += ["VERBS", "CATEGORIES"] if args.output == "wide" else []
    output.columns(header, rows, session.io, show_header=not args.no_headers)
    return 0


def preferred(resources: Sequence[Resource]) -> list[Resource]:
    """Each in the version that the server names first."""
    first: dict[tuple[str, str], Resource] = {}
    for r in resources:
        first.setdefault((r.group, r.plural), r)
    return list(first.values())


def _by_group(r: Resource) -> tuple[str, str]:
    return r.group, r.plural


def _by_name(r: Resource) -> tuple[str, str]:
    return r.plural, r.group


def _by_kind(r: Resource) -> tuple[str, str]:
    return r.kind, r.group


def _verbs(groups: dict[str, object]) -> dict[tuple[str, str], list[str]]:
    found: dict[tuple[str, str], list[str]] = {}
    items: list[dict[str, object]] = groups.get("items") or []  # type: ignore[assignment]
    for group in items:
        name = (group.get("metadata") or {}).get("name") or ""  # type: ignore[attr-defined]
        for version in group.get("versions") or []:  # type: ignore[attr-defined]
            for resource in version.get("resources") or []:
                found[name, resource["resource"]] = list(resource.get("verbs") or [])
    return found


VERB = Verb(
    help="List the resource types that the server serves.",
    usage="[flags]",
    examples="""
kubectl-lite api-resources
kubectl-lite api-resources --namespaced=false -o wide
kubectl-lite api-resources --api-group=apps
""",
    flags=_flags,
    run=run,
)
