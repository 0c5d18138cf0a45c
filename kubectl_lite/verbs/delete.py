"""delete: by name, by selector, or what manifests name; waits until the objects are gone."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass

from kubeapi.errors import NotFound
from kubeapi.scheme import Resource
from kubectl_lite.manifests import read
from kubectl_lite.names import UsageError, parse_targets
from kubectl_lite.session import Session

HELP = "delete objects"


@dataclass(frozen=True, slots=True)
class Doomed:
    resource: Resource
    name: str
    namespace: str

    def __str__(self) -> str:
        group = f".{self.resource.group}" if self.resource.group else ""
        return f'{self.resource.kind.lower()}{group} "{self.name}"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="*", metavar="TYPE[/NAME]")
    parser.add_argument("-f", "--filename", action="append", default=[])
    parser.add_argument("-R", "--recursive", action="store_true")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument("--grace-period", type=int, default=None, metavar="SECONDS")
    parser.add_argument("--force", action="store_true", help="with --grace-period 0: do not wait for the node")
    parser.add_argument("--cascade", choices=["background", "foreground", "orphan"], default="background")
    parser.add_argument("--ignore-not-found", action="store_true")
    parser.add_argument("--wait", default="true", choices=["true", "false"])
    parser.add_argument("--timeout", type=float, default=None, metavar="SECONDS")


async def run(args: argparse.Namespace, session: Session) -> int:
    doomed = await _doomed(args, session)
    if not doomed:
        print("No resources found.", file=session.io.err)
    status, waiting = 0, []
    for one in doomed:
        try:
            await session.server.delete(
                one.resource.type,
                one.name,
                one.namespace,
                grace_seconds=0 if args.force else args.grace_period,
                propagation=args.cascade.capitalize(),
            )
        except NotFound as error:
            if not args.ignore_not_found:
                session.io.fail(str(error))
                status = 1
            continue
        session.io.say(f"{one} {'force deleted' if args.force else 'deleted'}")
        waiting.append(one)
    if args.wait == "true":
        async with asyncio.timeout(args.timeout):
            await asyncio.gather(*(_gone(one, session) for one in waiting))
    return status


async def _doomed(args: argparse.Namespace, session: Session) -> list[Doomed]:
    if args.filename:
        manifests = read(args.filename, session.io, namespace=session.namespace, recursive=args.recursive)
        return [Doomed(m.resource, m.name, m.namespace) for m in manifests]
    found: list[Doomed] = []
    for target in parse_targets(args.what):
        where = session.namespace_of(target.resource)
        if target.name:
            found.append(Doomed(target.resource, target.name, where))
        elif args.selector or args.all:
            listing = await session.server.list(target.resource.type, where, label_selector=args.selector)
            found += [Doomed(target.resource, i.metadata.name, i.metadata.namespace) for i in listing.items]
        else:
            raise UsageError("name the objects, or give -l SELECTOR or --all")
    return found


async def _gone(one: Doomed, session: Session) -> None:
    field = f"metadata.name={one.name}"
    listing = await session.server.list(one.resource.type, one.namespace, field_selector=field)
    if not listing.items:
        return
    async for events in session.server.watch(
        one.resource.type, one.namespace, resource_version=listing.resource_version, field_selector=field
    ):
        if any(event.type == "DELETED" for event in events):
            return
