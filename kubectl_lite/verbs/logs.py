"""logs: what containers wrote; of one, of all of a pod, or of all pods of a selector."""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass
from typing import Any

from kubeapi.errors import ApiError
from kubectl_lite.choosing import one_pod, pods_of
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.remote import container_of
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb

SELECTOR_TAIL = 10


@dataclass(frozen=True, slots=True)
class Source:
    pod: str
    namespace: str
    container: str


def _flags(flags: Flags) -> None:
    flags.value("-c", "--container", help="which container; default: the first", metavar="NAME")
    flags.switch("-f", "--follow", help="go on as more is written")
    flags.switch("-p", "--previous", help="of the container before the last restart")
    flags.value("--since", help="only what is newer: 5s, 2m, 3h", metavar="TIME")
    flags.value("--since-time", help="only what is newer than this time (RFC 3339)", metavar="TIME")
    flags.number("--tail", help="only the last lines; default: all, with -l 10", metavar="LINES")
    flags.number("--limit-bytes", help="at most so many", metavar="BYTES")
    flags.switch("--timestamps", help="the time in front of each line")
    flags.value("-l", "--selector", help="of all pods with these labels", metavar="LABELS")
    flags.switch("--all-containers", help="of all containers of the pods")
    flags.switch("--all-pods", help="of all pods of the workload")
    flags.switch("--prefix", help="pod and container in front of each line")
    flags.switch("--ignore-errors", help="go on with the others when one fails")
    flags.number("--max-log-requests", default=5, help="with -f and -l: follow at most so many")


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.since and args.since_time:
        raise UsageError("at most one of --since and --since-time may be used")
    if args.container and args.all_containers:
        raise UsageError("--all-containers=true should not be specified with a container name")
    sources = await _sources(args, session)
    if not sources:
        session.io.tell(f"No resources found in {session.namespace} namespace.")
        return 0
    if args.follow and len(sources) > args.max_log_requests:
        raise UsageError(
            f"you are attempting to follow {len(sources)} log streams, but maximum allowed concurrency is "
            f"{args.max_log_requests}, use --max-log-requests to increase the limit"
        )
    if args.follow and len(sources) > 1:
        codes = await asyncio.gather(*(_print(source, args, session) for source in sources))
        return max(codes)
    return max([await _print(source, args, session) for source in sources])


async def _sources(args: argparse.Namespace, session: Session) -> list[Source]:
    if args.selector:
        if args.words:
            raise UsageError("only a selector (-l) or a POD name is allowed")
        resource = await session.names.find("pods")
        pods, _ = await session.server.list(resource, session.namespace, labels=args.selector)
    elif not args.words:
        raise UsageError("expected 'logs (POD | TYPE/NAME) [CONTAINER_NAME]'. POD or TYPE/NAME is a required argument")
    else:
        if len(args.words) == 2:
            args.container = args.container or args.words[1]
        elif len(args.words) > 2:
            raise UsageError("logs takes one pod and at most one container; use -l for several pods")
        pods = await _named(args, session)
    found = []
    for pod in pods:
        where = pod["metadata"]["name"], pod["metadata"]["namespace"]
        if args.all_containers:
            names = [c["name"] for kind in ("initContainers", "containers") for c in pod["spec"].get(kind, [])]
            found += [Source(*where, name) for name in names]
        else:
            found.append(Source(*where, container_of(pod, args.container, session)))
    return found


async def _named(args: argparse.Namespace, session: Session) -> list[dict[str, Any]]:
    word = args.words[0]
    if "/" not in word or not args.all_pods:
        pod = await one_pod(word, session)
        if "/" in word and pod["metadata"]["name"] != word.partition("/")[2]:
            target = (await session.names.targets([word]))[0]
            owner = await session.server.get(target.resource, target.name, session.namespace)
            others = len(await pods_of(owner, session))
            if others > 1:
                session.io.tell(f"Found {others} pods, using pod/{pod['metadata']['name']}")
        return [pod]
    args.prefix = True
    target = (await session.names.targets([word]))[0]
    return await pods_of(await session.server.get(target.resource, target.name, session.namespace), session)


async def _print(source: Source, args: argparse.Namespace, session: Session) -> int:
    tail = args.tail if args.tail is not None else SELECTOR_TAIL if args.selector else None
    since = parse_duration(args.since) if args.since else 0
    pieces = session.server.logs(
        source.pod,
        source.namespace,
        container=source.container,
        follow=args.follow,
        previous=args.previous,
        tail=tail if tail is None or tail >= 0 else None,
        since_seconds=max(1, round(since)) if args.since else None,
        since_time=args.since_time,
        timestamps=args.timestamps,
        limit_bytes=args.limit_bytes,
    )
    prefix = f"[pod/{source.pod}/{source.container}] ".encode() if args.prefix else b""
    rest = b""
    try:
        async for piece in pieces:
            if not prefix:
                session.io.write_bytes(piece)
                continue
            *lines, rest = (rest + piece).split(b"\n")
            session.io.write_bytes(b"".join(prefix + line + b"\n" for line in lines))
    except ApiError as error:
        if not args.ignore_errors:
            raise
        session.io.err.write(explain(error, session.address))
        return 1
    if rest:
        session.io.write_bytes(prefix + rest + b"\n")
    return 0


VERB = Verb(
    help="Print what a container wrote.",
    usage="(POD | TYPE/NAME | -l LABELS) [-c CONTAINER] [flags]",
    examples="""
# Of a pod; as it goes on; of the run before the last restart
kubectl-lite logs web-1
kubectl-lite logs -f web-1
kubectl-lite logs web-1 --previous
# The last 20 lines of the last hour
kubectl-lite logs web-1 --since=1h --tail=20
# Of all pods of a deployment, each line with its pod
kubectl-lite logs -l app=web --all-containers --prefix
""",
    flags=_flags,
    run=run,
)
