"""drain: cordon, then evict every pod of a node; a pod that a disruption budget protects is asked again and again.

What stands in the way is told all at once, before anything is evicted. Daemon pods stay: they would come back.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from kubeapi.errors import NotFound, TooManyRequests
from kubectl_lite.choosing import Chosen
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import Failed
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.verbs.cordon import mark, nodes
from kubectl_lite.verbs.delete import gone
from kubectl_lite.writing import dry_run_of

MIRROR = "kubernetes.io/config.mirror"
Object = dict[str, Any]


def _flags(flags: Flags) -> None:
    flags.value("-l", "--selector", help="all nodes with these labels", metavar="LABELS")
    flags.value("--pod-selector", help="only pods with these labels", metavar="LABELS")
    flags.switch("--ignore-daemonsets", help="leave daemon pods where they are")
    flags.switch("--delete-emptydir-data", help="pods with emptyDir volumes too: their data is lost")
    flags.switch("--force", help="pods without a controller too: nobody makes them anew")
    flags.switch("--disable-eviction", help="delete, past disruption budgets")
    flags.number("--grace-period", default=-1, help="seconds that a pod gets; default: what it asks for")
    flags.value("--timeout", default="0s", help="give up after this long; 0: never", metavar="TIME")
    flags.value(
        "--retry-every", default="5s", help="how often a pod that a budget protects is asked again", metavar="TIME"
    )
    flags.dry_run()


def sort_out(pods: list[Object], args: Any) -> tuple[list[Object], list[str], list[str]]:
    """(to evict, what forbids it, warnings). Pure."""
    evict: list[Object] = []
    local: list[str] = []
    bare: list[str] = []
    daemons: list[str] = []
    left: list[str] = []
    forced: list[str] = []
    for pod in pods:
        metadata = pod["metadata"]
        name = f"{metadata.get('namespace', '')}/{metadata['name']}"
        owner = next((o for o in metadata.get("ownerReferences") or [] if o.get("controller")), None)
        if MIRROR in (metadata.get("annotations") or {}):
            continue
        finished = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
        if owner is not None and owner["kind"] == "DaemonSet" and not finished:
            (left if args.ignore_daemonsets else daemons).append(name)
            continue
        scratch = any("emptyDir" in v for v in pod.get("spec", {}).get("volumes") or [])
        if scratch and not finished and not args.delete_emptydir_data:
            local.append(name)
            continue
        if owner is None and not finished and not args.force:
            bare.append(name)
            continue
        if owner is None and not finished:
            forced.append(name)
        evict.append(pod)
    faults = []
    if daemons:
        faults.append(f"cannot delete DaemonSet-managed Pods (use --ignore-daemonsets to ignore): {', '.join(daemons)}")
    if local:
        faults.append(
            f"cannot delete Pods with local storage (use --delete-emptydir-data to override): {', '.join(local)}"
        )
    if bare:
        faults.append(f"cannot delete Pods that declare no controller (use --force to override): {', '.join(bare)}")
    warnings = [f"deleting Pods that declare no controller: {', '.join(forced)}"] if forced else []
    return evict, faults, warnings + ([f"ignoring DaemonSet-managed Pods: {', '.join(left)}"] if left else [])


async def run(args: argparse.Namespace, session: Session) -> int:
    chosen = await nodes(args, session)
    for one in chosen:
        await mark(one, True, args, session)
    pods = await session.names.find("pods")
    for one in chosen:
        found, _ = await session.server.list(pods, "", labels=args.pod_selector, fields=f"spec.nodeName={one.name}")
        evict, faults, warnings = sort_out(found, args)
        if faults:
            raise Failed(
                f'unable to drain node "{one.name}": [' + ", ".join(faults) + "]\n"
                f"The node stays cordoned; `kubectl-lite uncordon {one.name}` takes that back."
            )
        for text in warnings:
            session.io.warn(text)
        dry = dry_run_of(args, session)
        note = {"client": " (dry run)", "server": " (server dry run)"}.get(dry, "")
        for pod in evict if note else ():
            session.io.say(f"evicting pod {pod['metadata']['namespace']}/{pod['metadata']['name']}{note}")
        if dry == "none":
            try:
                async with asyncio.timeout(parse_duration(args.timeout) or None), asyncio.TaskGroup() as tasks:
                    for pod in evict:
                        where = Chosen(pods, pod["metadata"]["name"], pod["metadata"]["namespace"])
                        tasks.create_task(_evict(where, args, session))
            except TimeoutError:
                left, _ = await session.server.list(pods, "", fields=f"spec.nodeName={one.name}")
                names = {pod["metadata"]["uid"]: pod["metadata"]["name"] for pod in left}
                still = ", ".join(names[uid] for uid in (pod["metadata"]["uid"] for pod in evict) if uid in names)
                raise Failed(
                    f'unable to drain node "{one.name}": timed out after {args.timeout}; still there: {still}\n'
                    "`kubectl-lite get pdb -A` tells which disruption budgets allow none now; "
                    f"`kubectl-lite uncordon {one.name}` takes the cordon back."
                ) from None
        session.io.say(f"node/{one.name} drained{note}")
    return 0


async def _evict(one: Chosen, args: argparse.Namespace, session: Session) -> None:
    session.io.say(f"evicting pod {one.namespace}/{one.name}")
    grace = args.grace_period if args.grace_period >= 0 else None
    body: Object = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": one.name, "namespace": one.namespace},
    }
    if grace is not None:
        body["deleteOptions"] = {"gracePeriodSeconds": grace}
    while True:
        try:
            if args.disable_eviction:
                await session.server.delete(one.resource, one.name, one.namespace, grace=grace)
            else:
                await session.server.create(one.resource, body, one.namespace, name=one.name, subresource="eviction")
            break
        except NotFound:
            return
        except TooManyRequests as error:
            session.io.tell(
                f'error when evicting pods/"{one.name}" -n "{one.namespace}" (will retry after {args.retry_every}): {error}'
            )
            await asyncio.sleep(parse_duration(args.retry_every))
    await gone(one, session)
    session.io.say(f"pod/{one.name} evicted")
    session.io.out.flush()


VERB = Verb(
    help="Move all pods off a node, for maintenance: cordon it, then evict its pods.",
    usage="NODE ... [flags]",
    examples="""
kubectl-lite drain n1 --ignore-daemonsets
kubectl-lite drain n1 --ignore-daemonsets --delete-emptydir-data --timeout=5m
# Back to work
kubectl-lite uncordon n1
""",
    flags=_flags,
    run=run,
)
