"""wait: until a condition holds, an object is there or gone, or a field has a value."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from kubeapi import codec
from kubectl_lite import output
from kubectl_lite.names import Target, UsageError, parse_targets
from kubectl_lite.session import Session

HELP = "wait for a condition"

Test = Callable[[dict[str, Any] | None], bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", nargs="+", metavar="TYPE[/NAME]")
    parser.add_argument(
        "--for",
        dest="goal",
        required=True,
        metavar="GOAL",
        help="condition=Ready, condition=Ready=false, delete, create, jsonpath={.status.phase}=Running",
    )
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--timeout", default="30s", help="e.g. 30s, 2m; 0 is for ever")


async def run(args: argparse.Namespace, session: Session) -> int:
    test = parse_goal(args.goal)
    targets = [t for target in parse_targets(args.what) for t in await _named(target, args, session)]
    seconds = parse_duration(args.timeout)
    try:
        async with asyncio.timeout(seconds or None):
            await asyncio.gather(*(_until(target, test, args.goal, session) for target in targets))
    except TimeoutError:
        session.io.fail(f"timed out after {args.timeout} waiting for {args.goal}; see `kubectl-lite describe`")
        return 1
    return 0


async def _named(target: Target, args: argparse.Namespace, session: Session) -> list[Target]:
    if target.name:
        return [target]
    if not (args.selector or args.all):
        raise UsageError("name the objects, or give -l SELECTOR or --all")
    where = session.namespace_of(target.resource)
    listing = await session.server.list(target.resource.type, where, label_selector=args.selector)
    return [Target(target.resource, item.metadata.name) for item in listing.items]


async def _until(target: Target, test: Test, goal: str, session: Session) -> None:
    where = session.namespace_of(target.resource)
    field = f"metadata.name={target.name}"
    listing = await session.server.list(target.resource.type, where, field_selector=field)
    current = codec.to_builtins(listing.items[0]) if listing.items else None
    if not test(current):
        events = session.server.watch(
            target.resource.type, where, resource_version=listing.resource_version, field_selector=field
        )
        current = await _first(events, test)
    name = output.object_name(current) if current else f"{target.resource.plural}/{target.name}"
    session.io.say(f"{name} {'deleted' if goal == 'delete' else 'condition met'}")


async def _first(events: Any, test: Test) -> dict[str, Any] | None:
    async for batch in events:
        for event in batch:
            if event.type == "BOOKMARK":
                continue
            state = None if event.type == "DELETED" else codec.to_builtins(event.object)
            if test(state):
                return state
    raise UsageError("the watch ended before the goal was reached")


def parse_goal(goal: str) -> Test:
    """Raises UsageError."""
    word, _, rest = goal.partition("=")
    if word == "delete":
        return lambda obj: obj is None
    if word == "create":
        return lambda obj: obj is not None
    if word == "condition" and rest:
        type_, _, status = rest.partition("=")
        return lambda obj: obj is not None and _condition(obj, type_).lower() == (status or "true").lower()
    if word == "jsonpath" and rest:
        path, _, value = rest.strip("'\"").rpartition("=")
        if path:
            return lambda obj: obj is not None and str(_dig(obj, path)) == value
    raise UsageError(f"--for={goal}: use condition=NAME[=VALUE], delete, create or jsonpath={{.PATH}}=VALUE")


def _condition(obj: dict[str, Any], type_: str) -> str:
    for condition in obj.get("status", {}).get("conditions", []):
        if condition["type"].lower() == type_.lower():
            return str(condition["status"])
    return ""


def _dig(obj: dict[str, Any], path: str) -> Any:
    value: Any = obj
    for part in path.strip("{}").strip(".").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def parse_duration(text: str) -> float:
    """Seconds of `90`, `30s`, `2m`, `1h`. Raises UsageError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], text[-1]) if text and text[-1] in units else (text, "s")
    try:
        return float(number) * units[unit]
    except ValueError:
        raise UsageError(f"{text!r} is no duration; write 30s, 2m or 1h") from None
