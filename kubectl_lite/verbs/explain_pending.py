"""explain-pending: why a pod waits, node by node, and what would have to change. kubectl has no such verb."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, TypeVar

from kubeapi.errors import Forbidden
from kubectl_lite.choosing import one_pod
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.printing.tabs import align
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb

T = TypeVar("T")


def _flags(flags: Flags) -> None:
    flags.value("-o", "--output", help="json: the reasons for programs", metavar="json")


async def run(args: argparse.Namespace, session: Session) -> int:
    if len(args.words) != 1:
        raise UsageError("name one pod: explain-pending POD")
    from kubeapi.types.core_v1 import Pod
    from kubectl_lite.pending import everywhere, of_node, unstarted

    raw = await one_pod(args.words[0], session)
    pod = _typed(Pod, raw)
    name = f"{pod.metadata.namespace}/{pod.metadata.name}"
    if pod.spec.node_name or pod.status.phase not in ("", "Pending"):
        reasons = list(unstarted(pod))
        if args.output == "json":
            session.io.out.write(
                output.as_json({"pod": name, "node": pod.spec.node_name, "everywhere": _plain(reasons)})
            )
            return 0
        where = f" on node {pod.spec.node_name}" if pod.spec.node_name else ""
        session.io.say(f"Pod {name} has been scheduled{where}; its phase is {pod.status.phase or 'Pending'}.")
        for reason in reasons:
            session.io.say(f"  {reason.why}\n    to change it: {reason.change}")
        if not reasons and pod.status.phase in ("", "Pending"):
            session.io.say(
                "Its node's agent has not said yet what it waits for; `kubectl-lite events --for pod/...` may."
            )
        return 0
    now = await _situation(pod, session)
    always, nodes = list(everywhere(pod, now)), {n.metadata.name: of_node(pod, n, now) for n in now.nodes}
    if args.output == "json":
        found = {"pod": name, "scheduler": _verdict(raw)[1], "everywhere": _plain(always)}
        session.io.out.write(output.as_json(found | {"nodes": {n: _plain(r) for n, r in nodes.items()}}))
        return 0
    _tell(name, raw, always, nodes, session)
    return 0


def _tell(name: str, raw: dict[str, Any], always: Any, nodes: Mapping[str, Any], session: Session) -> None:
    from kubectl_lite.pending import NEIGHBOURS

    say = session.io.say
    reason, message = _verdict(raw)
    say(f"Pod {name} is pending: no node has been chosen for it.")
    scheduler = raw["spec"].get("schedulerName", "default-scheduler")
    say(
        f"Scheduler:  {reason}: {message}"
        if message
        else f"Scheduler:  {scheduler} has not looked at the pod yet; is it running?"
    )
    if always:
        say("\nWhatever the node:")
    for one in always:
        say(f"  {one.why}\n    to change it: {one.change}")
    if nodes:
        say("")
        lines = ["NODE\tWHY NOT\tWHAT WOULD HAVE TO CHANGE"]
        for node, reasons in sorted(nodes.items()):
            if not reasons:
                lines.append(f"{node}\t<nothing on the node itself>\t")
            lines += [f"{'' if n else node}\t{r.why}\t{r.change}" for n, r in enumerate(reasons)]
        for line in align(lines, least=6, gap=3):
            say(line.rstrip())
    if any(word in message for word in NEIGHBOURS):
        say("\nThe scheduler also minds the pods that run already (spreading, affinity): see its sentence above.")
    free = [node for node, reasons in nodes.items() if not reasons]
    if free and not always and not any(word in message for word in NEIGHBOURS):
        say(f"\nNothing seems to keep it from {', '.join(sorted(free))}: the scheduler may be about to decide.")
    elif nodes and not free and not always:
        say("\nIt takes one node of which everything has changed.")


def _verdict(raw: dict[str, Any]) -> tuple[str, str]:
    """Reason and message of what the scheduler has said last."""
    for condition in raw.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") != "True":
            return condition.get("reason", ""), condition.get("message", "")
    return "", ""


def _plain(reasons: Any) -> list[dict[str, str]]:
    return [{"why": r.why, "change": r.change} for r in reasons]


async def _situation(pod: Any, session: Session) -> Any:
    from kubeapi.types.core_v1 import Node, PersistentVolume, PersistentVolumeClaim, Pod
    from kubeapi.types.storage_v1 import StorageClass
    from kubectl_lite.pending import Situation, claim_names

    async def every(plural: str, type_: type[T], namespace: str = "", fields: str = "") -> list[T]:
        resource = await session.names.find(plural)
        try:
            found, _ = await session.server.list(resource, namespace, fields=fields)
        except Forbidden as error:
            session.io.warn(f"{plural} are not taken into account: {error}")
            return []
        return [_typed(type_, one) for one in found]

    nodes = await every("nodes", Node)
    pods = await every("pods", Pod, fields="spec.nodeName!=")
    if not claim_names(pod):
        return Situation(nodes, pods)
    claims = await every("persistentvolumeclaims", PersistentVolumeClaim, pod.metadata.namespace)
    volumes = await every("persistentvolumes", PersistentVolume)
    classes = await every("storageclasses", StorageClass)
    return Situation(
        nodes,
        pods,
        {c.metadata.name: c for c in claims},
        {v.metadata.name: v for v in volumes},
        {c.metadata.name: c for c in classes},
    )


def _typed(type_: type[T], raw: dict[str, Any]) -> T:
    from kubeapi import codec

    return codec.from_builtins(type_, raw)


VERB = Verb(
    help="Tell why a pod waits, node by node, and what would have to change.",
    usage="POD [flags]",
    examples="kubectl-lite explain-pending web-7d4b9\nkubectl-lite explain-pending deploy/web -o json",
    flags=_flags,
    run=run,
)
