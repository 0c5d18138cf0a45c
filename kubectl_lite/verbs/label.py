"""label and annotate: KEY=VALUE sets, KEY- removes; as a merge patch."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite.choosing import choose
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Run, Verb
from kubectl_lite.writing import dry_run_of, report, writing_of


def _flags(flags: Flags) -> None:
    flags.files()
    flags.selector()
    flags.everywhere()
    flags.switch("--overwrite", help="a key that has another value already too")
    flags.switch("--list", help="show them")
    flags.value("--resource-version", help="only if the object is at this version", metavar="VERSION")
    flags.dry_run()
    flags.output()


def split_words(words: list[str]) -> tuple[list[str], dict[str, str | None]]:
    """What is meant, and the changes: None removes. Changes begin at the first word with `=`, or `-` at its end."""
    at = next((i for i, w in enumerate(words) if "=" in w or (w.endswith("-") and i > 0)), len(words))
    changes: dict[str, str | None] = {}
    for word in words[at:]:
        key, eq, value = word.partition("=")
        if not eq and not word.endswith("-"):
            raise UsageError(f"{word!r} is neither KEY=VALUE nor KEY-; names come before the changes")
        key = key if eq else word[:-1]
        if key in changes:
            raise UsageError(f"can not both modify and remove, or modify twice, {key!r} in the same command")
        changes[key] = value if eq else None
    return words[:at], changes


def _clash(one: str, keys: list[str], have: dict[str, str]) -> str:
    texts = "; ".join(f"'{key}' already has a value ({have[key]})" for key in keys)
    if one == "label":
        return f"{texts}, and --overwrite is false"
    return f"--overwrite is false but found the following declared {one}(s): {texts}"


def _changing(field: str, one: str) -> Run:
    async def run(args: argparse.Namespace, session: Session) -> int:
        what, changes = split_words(args.words)
        if not changes and not args.list:
            raise UsageError(f"at least one {one} update is required: KEY=VALUE, or KEY- to remove it")
        status = 0
        for chosen in await choose(args, session, what):
            server = session.server
            obj = await server.get(chosen.resource, chosen.name, chosen.namespace)
            have = obj["metadata"].get(field) or {}
            if args.list:
                session.io.out.write("".join(f"{k}={v}\n" for k, v in sorted(have.items())))
                continue
            clash = [k for k, v in changes.items() if v is not None and have.get(k, v) != v]
            if clash and not args.overwrite:
                raise Failed(_clash(one, clash, have))
            if one == "label":
                for key in (k for k, v in changes.items() if v is None and k not in have):
                    session.io.say(f'label "{key}" not found.')
            after = {k: v for k, v in {**have, **changes}.items() if v is not None}
            if after == have:
                report(args, session, obj, f"not {one}ed" if one == "label" else "annotated")
                continue
            patch: dict[str, Any] = {"metadata": {field: changes}}
            if args.resource_version:
                patch["metadata"]["resourceVersion"] = args.resource_version
            if dry_run_of(args, session) == "client":
                obj = obj | {"metadata": obj["metadata"] | {field: after}}
            else:
                obj = await server.patch(
                    chosen.resource, chosen.name, patch, chosen.namespace, writing=writing_of(args, session)
                )
            removed = one == "label" and all(v is None for v in changes.values())
            report(args, session, obj, "unlabeled" if removed else "labeled" if one == "label" else "annotated")
        return status

    return run


VERBS = {
    name: Verb(
        help=f"Set or remove {field}.",
        usage="(-f FILE | TYPE NAME ... | TYPE/NAME ...) KEY=VALUE ... KEY- ... [flags]",
        examples=f"kubectl-lite {name} pod web-1 tier=front\nkubectl-lite {name} pods --all --overwrite tier=back\n"
        f"kubectl-lite {name} pod web-1 tier-",
        flags=_flags,
        run=_changing(field, one),
    )
    for name, field, one in (("label", "labels", "label"), ("annotate", "annotations", "annotation"))
}
