"""top: what nodes and pods use, from metrics.k8s.io."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

from kubeapi.errors import MethodNotAllowed, NotFound, ServiceUnavailable
from kubeapi.quantity import parse
from kubeapi.scheme import SCHEME
from kubectl_lite.errors import Failed
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.session import Session
from kubectl_lite.verb import Run, Verb


def _flags(flags: Flags) -> None:
    flags.selector(everything=False)
    flags.everywhere()
    flags.switch("--containers", help="of each container")
    flags.value("--sort-by", help="cpu or memory", metavar="WHAT")
    flags.switch("--no-headers", help="rows only")


async def _metrics(plural: str, args: argparse.Namespace, session: Session) -> list[dict[str, Any]]:
    resource = SCHEME.by_plural("metrics.k8s.io", "v1beta1", plural)
    try:
        if resource is None:
            raise NotFound("unknown")
        found, _ = await session.server.list(
            resource, session.namespace_of(resource), labels=args.selector, fields=args.field_selector
        )
    except (NotFound, MethodNotAllowed, ServiceUnavailable) as error:
        raise Failed(
            "Metrics API not available: this cluster serves no metrics.k8s.io\n"
            "`kubectl-lite describe node NAME` shows what pods have asked for."
        ) from error
    there = {m["metadata"]["name"] for m in found}
    if absent := [name for name in args.words if name not in there]:
        raise NotFound(f'{plural} "{absent[0]}" not found')
    if not found:
        raise Failed(
            "metrics not available yet\nNothing is known to run here; a new pod or node is measured in seconds."
        )
    return [m for m in found if not args.words or m["metadata"]["name"] in args.words]


def _cells(usage: dict[str, Any]) -> tuple[Fraction, Fraction]:
    return parse(usage.get("cpu", "0")), parse(usage.get("memory", "0"))


def _text(cpu: Fraction, memory: Fraction) -> list[str]:
    return [f"{-(-cpu * 1000 // 1)}m", f"{memory // (1 << 20)}Mi"]


def _order(rows: list[tuple[list[str], Fraction, Fraction]], by: str) -> list[tuple[list[str], Fraction, Fraction]]:
    if by:
        return sorted(rows, key=lambda row: row[1 if by == "cpu" else 2], reverse=True)
    return sorted(rows, key=lambda row: row[0])


async def _pods(args: argparse.Namespace, session: Session) -> int:
    rows = []
    for m in await _metrics("pods", args, session):
        front = [*([m["metadata"].get("namespace", "")] if args.all_namespaces else []), m["metadata"]["name"]]
        usages = [(c["name"], *_cells(c.get("usage") or {})) for c in m.get("containers") or []]
        if args.containers:
            rows += [([*front, name], cpu, memory) for name, cpu, memory in usages]
        else:
            rows.append((front, sum((u[1] for u in usages), Fraction(0)), sum((u[2] for u in usages), Fraction(0))))
    header = [*(["NAMESPACE"] if args.all_namespaces else []), *(["POD", "NAME"] if args.containers else ["NAME"])]
    lines = [[*front, *_text(cpu, memory)] for front, cpu, memory in _order(rows, args.sort_by)]
    output.columns([*header, "CPU(cores)", "MEMORY(bytes)"], lines, session.io, show_header=not args.no_headers)
    return 0


async def _nodes(args: argparse.Namespace, session: Session) -> int:
    found = await _metrics("nodes", args, session)
    nodes, _ = await session.server.list(await session.names.find("nodes"))
    have = {n["metadata"]["name"]: n.get("status", {}).get("allocatable") or {} for n in nodes}
    rows = [([m["metadata"]["name"]], *_cells(m.get("usage") or {})) for m in found]
    lines = []
    for (name,), cpu, memory in _order(rows, args.sort_by):
        text = _text(cpu, memory)
        whole = _cells(have.get(name, {}))
        share = [
            f"{used * 100 // all_}%" if all_ else "<unknown>" for used, all_ in zip((cpu, memory), whole, strict=True)
        ]
        lines.append([name, text[0], share[0], text[1], share[1]])
    header = ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"]
    output.columns(header, lines, session.io, show_header=not args.no_headers)
    return 0


def _one(what: str, run: Run) -> Verb:
    return Verb(f"Show what {what} use.", "[NAME ...] [flags]", f"kubectl-lite top {what} --sort-by=cpu", _flags, run)


_PODS, _NODES = _one("pods", _pods), _one("nodes", _nodes)
VERB = Verb(
    help="Show what nodes and pods use.",
    usage="(nodes | pods) [NAME ...] [flags]",
    examples="kubectl-lite top nodes\nkubectl-lite top pods -A --sort-by=memory",
    sub={"nodes": _NODES, "node": _NODES, "no": _NODES, "pods": _PODS, "pod": _PODS, "po": _PODS},
)
