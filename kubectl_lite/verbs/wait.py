"""wait: until a condition holds, a field has a value, or an object is there or gone."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kubectl_lite.choosing import Chosen, choose
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.printing import jsonpath, output
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
    show = output.printer(args.output, here=session.here, managed_fields=args.show_managed_fields, given=args.template)
    seen = _Seen()
    try:
        # Even a patience of 0 is one look at what is there.
        async with asyncio.timeout((FOREVER if seconds < 0 else seconds) or None):
            met = await _until(one, test, goal, session, seen, once=not seconds)
    except TimeoutError:
        session.io.fail(f"timed out waiting for the condition on {one.resource.plural}/{one.name}")
        met = False
    else:
        if not met:
            session.io.fail(f"condition not met for {one.resource.plural}/{one.name}")
    if not met:
        session.io.progress(f"{one.title} {state(seen.object, goal)}; `kubectl-lite describe {one.title}` may tell why")
        return 1
    if seen.object is None and not seen.ever:
        return 0  # was never there, and should not be
    if show is not None and seen.object is not None:
        session.io.out.write(show(seen.object))
    else:
        session.io.say(f"{one.title} condition met")
    session.io.out.flush()
    return 0


@dataclass(slots=True)
class _Seen:
    object: dict[str, Any] | None = None
    """As it is; None: it is not there."""
    ever: bool = False


async def _until(one: Chosen, test: Test, goal: str, session: Session, seen: _Seen, *, once: bool) -> bool:
    """False when one look was all, and not enough. NotFound as kubectl has it."""
    synced = False
    async for type_, obj in follow(session, one.resource, one.namespace, fields=f"metadata.name={one.name}"):
        if type_ == "SYNCED":
            synced = True
            if seen.object is None and goal not in ("delete", "create"):
                await session.server.get(one.resource, one.name, one.namespace)
        else:
            seen.object, seen.ever = (None if type_ == "DELETED" else obj), True
        if (synced or seen.object is not None) and test(seen.object):
            return True
        if synced:
            if once:
                return False
            session.io.progress(f"{one.title} {state(seen.object, goal)}")
    return False


def state(obj: dict[str, Any] | None, goal: str) -> str:
    """How far the object is from the goal."""
    if obj is None:
        return "is not there"
    word, _, rest = goal.partition("=")
    if word.lower() == "delete":
        held = obj["metadata"].get("finalizers")
        ending = (
            "is being deleted" if obj["metadata"].get("deletionTimestamp") else "is there, and nobody has deleted it"
        )
        return ending + (f"; its finalizers: {', '.join(held)}" if held else "")
    if word == "condition":
        type_ = rest.partition("=")[0]
        for condition in obj.get("status", {}).get("conditions") or []:
            if condition.get("type", "").lower() == type_.lower():
                why = ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))
                return f"has {condition['type']}={condition.get('status')}" + (f" ({why})" if why else "")
        return f"has no condition {type_} yet"
    if word == "jsonpath":
        expression, _ = _split_goal(rest.strip("'\""))
        found = jsonpath.parse(jsonpath.relaxed(expression)).results(obj)
        return f"has {', '.join(map(jsonpath.show, found)) or 'nothing'} at {expression}"
    return "is there"


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
