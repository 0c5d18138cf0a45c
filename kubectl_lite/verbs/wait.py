"""wait: until a condition holds, a field has a value, or an object is there or gone."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from typing import Any

from kubectl_lite import jsonpath, output
from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.watching import follow

Test = Callable[[dict[str, Any] | None], bool]
FOREVER = 7 * 24 * 3600.0


def _flags(flags: Flags) -> None:
    flags.value(
        "--for",
        help="condition=NAME[=VALUE], delete, create, jsonpath='{.PATH}'[=VALUE]",
        metavar="GOAL",
    )
    flags.value("--timeout", default="30s", help="0 looks once, less than 0 waits a week", metavar="TIME")
    flags.files()
    flags.selector()
    flags.everywhere()
    flags.output()


async def run(args: argparse.Namespace, session: Session) -> int:
    goal = getattr(args, "for")
    if not goal:
        raise UsageError("--for is required: condition=Ready, delete, create or jsonpath='{.status.phase}'=Running")
    test = parse_goal(goal)
    seconds = parse_duration(args.timeout)
    chosen = await choose(args, session)
    if not chosen:
        session.io.fail("no matching resources found")
        return 0 if goal == "delete" else 1
    codes = await asyncio.gather(*(_one(one, test, goal, seconds, args, session) for one in chosen))
    return max(codes)


async def _one(one: Chosen, test: Test, goal: str, seconds: float, args: argparse.Namespace, session: Session) -> int:
    show = output.printer(args.output, here=session.here, managed_fields=args.show_managed_fields)
    try:
        # Even a patience of 0 is one look at what is there.
        async with asyncio.timeout(FOREVER if seconds < 0 else max(seconds, 0.001) if seconds else None) as limit:
            obj = await _until(one, test, goal, session, once=limit.when() is None)
    except TimeoutError:
        obj = None
        session.io.tell(f"error: timed out waiting for the condition on {one.resource.plural}/{one.name}")
        return 1
    if obj is False:
        session.io.tell(f"error: timed out waiting for the condition on {one.resource.plural}/{one.name}")
        return 1
    if show is not None and isinstance(obj, dict):
        session.io.out.write(show(obj))
    else:
        session.io.say(f"{one.title} {'deleted' if goal == 'delete' else 'condition met'}")
    session.io.out.flush()
    return 0


async def _until(one: Chosen, test: Test, goal: str, session: Session, *, once: bool) -> dict[str, Any] | bool | None:
    """The object that passes (None: it is gone), or False when one look was not enough. NotFound as kubectl has it."""
    current: dict[str, Any] | None = None
    async for type_, obj in follow(session, one.resource, one.namespace, fields=f"metadata.name={one.name}"):
        if type_ == "SYNCED":
            if current is None and goal not in ("delete", "create"):
                await session.server.get(one.resource, one.name, one.namespace)
            if not test(current) and once:
                return False
        else:
            current = None if type_ == "DELETED" else obj
        if (type_ != "ADDED" or current is not None) and test(current):
            return current
    return False


def parse_goal(goal: str) -> Test:
    """Raises UsageError."""
    word, _, rest = goal.partition("=")
    if word.lower() == "delete":
        return lambda obj: obj is None
    if word.lower() == "create":
        return lambda obj: obj is not None
    if word == "condition" and rest:
        type_, _, status = rest.partition("=")
        return lambda obj: obj is not None and _condition(obj, type_).lower() == (status or "true").lower()
    if word == "jsonpath" and rest:
        return _jsonpath_goal(rest)
    raise UsageError(
        f'unrecognized condition: "{goal}": use condition=NAME, delete, create or jsonpath={{.PATH}}=VALUE'
    )


def _jsonpath_goal(text: str) -> Test:
    expression, value = _split_goal(text.strip("'\""))
    try:
        template = jsonpath.parse(jsonpath.relaxed(expression))
    except jsonpath.JsonPathError as error:
        raise UsageError(f"--for: {error}") from error

    def test(obj: dict[str, Any] | None) -> bool:
        if obj is None:
            return False
        found = template.results(obj)
        if value is None:
            return bool(found)
        if len(found) > 1:
            raise UsageError("given jsonpath expression matches more than one value")
        return len(found) == 1 and jsonpath.show(found[0]).strip() == value

    return test


def _split_goal(text: str) -> tuple[str, str | None]:
    """At the `=` behind the expression, not at one inside its brackets."""
    depth = 0
    for at, char in enumerate(text):
        depth += (char in "[{(") - (char in "]})")
        if char == "=" and depth == 0:
            return text[:at].strip("'\""), text[at + 1 :].strip("'\"")
    return text, None


def _condition(obj: dict[str, Any], type_: str) -> str:
    """Empty, too, while the condition is about an older generation."""
    generation = obj["metadata"].get("generation", 0)
    for condition in obj.get("status", {}).get("conditions") or []:
        if condition.get("type", "").lower() == type_.lower():
            observed = condition.get("observedGeneration") or obj["status"].get("observedGeneration") or generation
            return str(condition.get("status", "")) if observed >= generation else ""
    return ""


VERB = Verb(
    help="Wait for a condition on objects. Exit code 1 when the time is up.",
    usage="(-f FILE | TYPE[/NAME] | TYPE --all | TYPE -l LABELS) --for=GOAL [flags]",
    examples="""
# Until a pod is ready; until all are
kubectl-lite wait pod/web-1 --for=condition=Ready
kubectl-lite wait pods -l app=web --for=condition=Ready --timeout=2m
# Until a field has a value
kubectl-lite wait pod/job --for=jsonpath='{.status.phase}'=Succeeded
# Until it is gone
kubectl-lite wait pod/web-1 --for=delete --timeout=60s
""",
    flags=_flags,
    run=run,
)
