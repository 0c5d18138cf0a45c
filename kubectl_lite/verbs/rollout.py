"""rollout: how a Deployment's change goes on, its history, back to an earlier one, and once more."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from kubeapi import codec
from kubeapi.clock import SystemClock
from kubeapi.errors import NotFound
from kubeapi.selectors import format_label_selector
from kubeapi.types import apps_v1
from kubectl_lite import output
from kubectl_lite.names import Target, UsageError, parse_targets
from kubectl_lite.session import Session
from kubectl_lite.verbs.wait import parse_duration

HELP = "follow, undo or repeat a Deployment's rollout"
REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
HASH_LABEL = "pod-template-hash"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["status", "history", "undo", "restart", "pause", "resume"])
    parser.add_argument("what", nargs="+", metavar="deploy/NAME")
    parser.add_argument("--to-revision", type=int, default=0, help="undo: this revision (default: the one before)")
    parser.add_argument("--timeout", default="0", help="status: give up after this long")


async def run(args: argparse.Namespace, session: Session) -> int:
    actions = {
        "status": _status,
        "history": _history,
        "undo": _undo,
        "restart": _restart,
        "pause": _pause,
        "resume": _pause,
    }
    worst = 0
    for target in parse_targets(args.what):
        if target.resource.kind != "Deployment" or not target.name:
            raise UsageError("rollout takes deployments by name, e.g. rollout status deploy/web")
        worst = max(worst, await actions[args.action](args, target, session))
    return worst


async def _status(args: argparse.Namespace, target: Target, session: Session) -> int:
    try:
        async with asyncio.timeout(parse_duration(args.timeout) or None):
            return await _follow(target, session)
    except TimeoutError:
        session.io.fail(f"timed out after {args.timeout}; see `kubectl-lite describe deploy/{target.name}`")
        return 1


async def _follow(target: Target, session: Session) -> int:
    field = f"metadata.name={target.name}"
    listing = await session.server.list(apps_v1.Deployment, session.namespace, field_selector=field)
    if not listing.items:
        raise NotFound(f'deployments.apps "{target.name}" not found')
    said, state = "", describe_progress(listing.items[0])
    events = session.server.watch(
        apps_v1.Deployment, session.namespace, resource_version=listing.resource_version, field_selector=field
    )
    while True:
        done, failed, text = state
        if text != said:
            session.io.say(text)
            said = text
        if done or failed:
            return 1 if failed else 0
        batch = await anext(events)
        for event in batch:
            if event.type == "DELETED":
                raise NotFound(f'deployments.apps "{target.name}" was deleted')
            if event.type != "BOOKMARK":
                state = describe_progress(event.object)


def describe_progress(deployment: apps_v1.Deployment) -> tuple[bool, bool, str]:
    """(done, failed, what to say), in the words of kubectl's DeploymentStatusViewer."""
    name, spec, status = deployment.metadata.name, deployment.spec, deployment.status
    wanted = spec.replicas if spec.replicas is not None else 1
    if deployment.metadata.generation > status.observed_generation:
        return False, False, "Waiting for deployment spec update to be observed..."
    for condition in status.conditions:
        if condition.type == "Progressing" and condition.reason == "ProgressDeadlineExceeded":
            return False, True, f'error: deployment "{name}" exceeded its progress deadline'
    start = f'Waiting for deployment "{name}" rollout to finish: '
    if status.updated_replicas < wanted:
        return False, False, f"{start}{status.updated_replicas} out of {wanted} new replicas have been updated..."
    if status.replicas > status.updated_replicas:
        old = status.replicas - status.updated_replicas
        return False, False, f"{start}{old} old replicas are pending termination..."
    if status.available_replicas < status.updated_replicas:
        have = f"{status.available_replicas} of {status.updated_replicas}"
        return False, False, f"{start}{have} updated replicas are available..."
    return True, False, f'deployment "{name}" successfully rolled out'


async def _revisions(target: Target, session: Session) -> tuple[apps_v1.Deployment, dict[int, apps_v1.ReplicaSet]]:
    deployment = await session.server.get(apps_v1.Deployment, target.name, session.namespace)
    selector = format_label_selector(deployment.spec.selector)
    sets = await session.server.list(apps_v1.ReplicaSet, session.namespace, label_selector=selector)
    mine = (s for s in sets.items if any(o.uid == deployment.metadata.uid for o in s.metadata.owner_references))
    return deployment, {int(s.metadata.annotations.get(REVISION, "0")): s for s in mine}


async def _history(args: argparse.Namespace, target: Target, session: Session) -> int:
    _, revisions = await _revisions(target, session)
    session.io.say(f"deployment.apps/{target.name}")
    rows = [(str(number), revisions[number].metadata.annotations.get(CAUSE, "<none>")) for number in sorted(revisions)]
    output.columns(["REVISION", "CHANGE-CAUSE"], rows, session.io)
    return 0


async def _undo(args: argparse.Namespace, target: Target, session: Session) -> int:
    deployment, revisions = await _revisions(target, session)
    earlier = sorted(revisions)[:-1]
    wanted = args.to_revision or (earlier[-1] if earlier else 0)
    if wanted not in revisions:
        raise UsageError(f"no revision {wanted or 'before this one'}; there are {sorted(revisions)}")
    template = codec.to_builtins(revisions[wanted].spec.template)
    labels = dict(template["metadata"].get("labels", {}))
    labels.pop(HASH_LABEL, None)
    template["metadata"]["labels"] = labels
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": deployment.metadata.resource_version},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]
    await session.server.patch(apps_v1.Deployment, target.name, patch, kind="json", namespace=session.namespace)
    session.io.say(f"deployment.apps/{target.name} rolled back to revision {wanted}")
    return 0


async def _restart(args: argparse.Namespace, target: Target, session: Session) -> int:
    stamp = SystemClock().now().strftime("%Y-%m-%dT%H:%M:%SZ")
    body: dict[str, Any] = {"spec": {"template": {"metadata": {"annotations": {RESTARTED: stamp}}}}}
    await session.server.patch(apps_v1.Deployment, target.name, body, namespace=session.namespace)
    session.io.say(f"deployment.apps/{target.name} restarted")
    return 0


async def _pause(args: argparse.Namespace, target: Target, session: Session) -> int:
    body = {"spec": {"paused": True if args.action == "pause" else None}}
    await session.server.patch(apps_v1.Deployment, target.name, body, namespace=session.namespace)
    session.io.say(f"deployment.apps/{target.name} {args.action}d")
    return 0
