"""expose: a service in front of what a workload's selector chooses."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite import generate
from kubectl_lite.choosing import choose
from kubectl_lite.creating import send
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _flags(flags: Flags) -> None:
    flags.files()
    flags.number("--port", help="of the service; default: the containers' ports", metavar="PORT")
    flags.value("--target-port", help="of the pods: number or name; default: --port", metavar="PORT")
    flags.value("--name", help="of the service; default: the workload's", metavar="NAME")
    flags.choice("--protocol", choices=["TCP", "UDP", "SCTP"], default="TCP", help="of the port")
    flags.choice(
        "--type", choices=["ClusterIP", "NodePort", "LoadBalancer"], default="ClusterIP", help="of the service"
    )
    flags.dry_run()
    flags.output()
    flags.validation()


async def run(args: argparse.Namespace, session: Session) -> int:
    for one in await choose(args, session):
        source = await session.server.get(one.resource, one.name, one.namespace)
        made = service_for(source, args)
        await send(made, args, session, "exposed")
    return 0


def service_for(source: dict[str, Any], args: Any) -> dict[str, Any]:
    """Pure. Raises UsageError."""
    kind, spec, labels = source["kind"], source.get("spec", {}), source["metadata"].get("labels") or {}
    selector = labels if kind == "Pod" else spec.get("selector") or {}
    if kind not in ("Pod", "Service"):
        if selector.get("matchExpressions"):
            raise UsageError("couldn't convert expressions - a service selects by equality only")
        selector = selector.get("matchLabels") or selector
    if not selector:
        raise UsageError(f"{kind} {source['metadata']['name']} has no labels to select by")
    inner = spec if kind == "Pod" else spec.get("template", {}).get("spec", {})
    found = [p for c in inner.get("containers") or [] for p in c.get("ports") or []]
    if args.port is None and not found:
        raise UsageError("couldn't find port via --port flag or introspection: give --port")
    if args.port is not None:
        given = args.target_port
        target = int(given) if given.isdigit() else given or args.port
        ports = [{"port": args.port, "protocol": args.protocol, "targetPort": target}]
    else:
        ports = [
            {"port": p["containerPort"], "protocol": p.get("protocol", "TCP"), "targetPort": p["containerPort"]}
            for p in found
        ]
    if len(ports) > 1:
        ports = [port | {"name": f"port-{n}"} for n, port in enumerate(ports, 1)]
    fields = {"selector": selector, "ports": ports, **({"type": args.type} if args.type != "ClusterIP" else {})}
    made = generate.simple("v1", "Service", args.name or source["metadata"]["name"], spec=fields)
    made["metadata"] |= {"labels": labels} if labels else {}
    return made


VERB = Verb(
    help="Put a new service in front of the pods of a workload.",
    usage="TYPE/NAME [--port=PORT] [flags]",
    examples="kubectl-lite expose deploy/web --port=80 --target-port=8080",
    flags=_flags,
    run=run,
)
