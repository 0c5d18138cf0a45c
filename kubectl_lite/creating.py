"""What the kinds of `create` share: a name and flags make an object, and it is sent, or only shown."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from kubectl_lite import generate
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.writing import dry_run_of, report, writing_of

Make = Callable[[str, argparse.Namespace, Session], Any]
"""Of a name and the flags the object; it may be a coroutine."""


def shared(flags: Flags) -> None:
    flags.output()
    flags.dry_run()
    flags.validation()
    flags.switch("--save-config", help="note the object as applied, so that apply can go on from it")


async def send(obj: dict[str, Any], args: argparse.Namespace, session: Session, outcome: str = "created") -> None:
    resource = await session.names.by_kind(obj["apiVersion"], obj["kind"])
    if resource is None:
        raise UsageError(f"the server has no {obj['kind']} in {obj['apiVersion']}")
    if getattr(args, "save_config", False):
        from kubectl_lite.applying import with_last_applied

        obj = with_last_applied(obj)
    namespace = obj["metadata"].get("namespace") or (session.namespace if resource.namespaced else "")
    if dry_run_of(args, session) != "client":
        obj = await session.server.create(resource, obj, namespace, writing=writing_of(args, session))
    elif resource.namespaced and session.explicit_namespace:
        obj = obj | {"metadata": obj["metadata"] | {"namespace": namespace}}
    report(args, session, obj, outcome)


def kind(help: str, usage: str, examples: str, flags: Callable[[Flags], None] | None, make: Make) -> Verb:
    async def run_one(args: argparse.Namespace, session: Session) -> int:
        if len(args.words) != 1:
            raise UsageError(f"exactly one NAME is required, got {len(args.words)}")
        made = make(args.words[0], args, session)
        await send(await made if asyncio.iscoroutine(made) else made, args, session)
        return 0

    def all_flags(given: Flags) -> None:
        if flags is not None:
            flags(given)
        shared(given)

    return Verb(help=help, usage=usage, examples=examples, flags=all_flags, run=run_one)


def plain(api_version: str, kind: str) -> Make:
    return lambda name, args, session: generate.simple(api_version, kind, name)
