"""create ingress, poddisruptionbudget, priorityclass."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite import generate
from kubectl_lite.creating import kind
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _ingress_flags(flags: Flags) -> None:
    flags.many("--rule", help="HOST/PATH=SERVICE:PORT[,tls[=SECRET]]; PATH* is a prefix (repeatable)", metavar="RULE")
    flags.value("--class", help="of the ingress", metavar="NAME")
    flags.value("--default-backend", help="SERVICE:PORT for what no rule takes", metavar="BACKEND")
    flags.many("--annotation", help="KEY=VALUE (repeatable)", metavar="PAIR")


def _ingress(name: str, args: argparse.Namespace, session: Session) -> Any:
    if not args.rule and not args.default_backend:
        raise UsageError(
            "not enough information provided: every ingress has to either specify a default-backend or a rule"
        )
    return generate.ingress(
        name,
        args.rule,
        class_name=getattr(args, "class"),
        default=args.default_backend,
        annotations=generate.pairs(args.annotation, "--annotation"),
    )


def _budget_flags(flags: Flags) -> None:
    flags.value("--selector", help="labels of the pods: app=web", metavar="LABELS")
    flags.value("--min-available", help="as many, or as much, must be left: 2 or 50%%", metavar="AMOUNT")
    flags.value("--max-unavailable", help="as many, or as much, may be away: 1 or 20%%", metavar="AMOUNT")


def _budget(name: str, args: argparse.Namespace, session: Session) -> Any:
    if not args.selector:
        raise UsageError("a selector must be specified: --selector=app=web")
    if bool(args.min_available) == bool(args.max_unavailable):
        raise UsageError("one of min-available or max-unavailable must be specified")
    labels = generate.pairs(args.selector.split(","), "--selector")
    field, amount = (
        ("minAvailable", args.min_available) if args.min_available else ("maxUnavailable", args.max_unavailable)
    )
    spec = {field: int(amount) if amount.isdigit() else amount, "selector": {"matchLabels": labels}}
    return generate.simple("policy/v1", "PodDisruptionBudget", name, spec=spec)


def _priority_flags(flags: Flags) -> None:
    flags.number("--value", default=0, help="of its pods: the higher, the sooner they are placed")
    flags.switch("--global-default", help="for pods that name no class")
    flags.value("--description", help="when to use it")
    flags.choice(
        "--preemption-policy",
        choices=["PreemptLowerPriority", "Never"],
        default="PreemptLowerPriority",
        help="whether its pods push others off",
    )


def _priority(name: str, args: argparse.Namespace, session: Session) -> Any:
    return generate.simple(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        name,
        value=args.value,
        globalDefault=args.global_default,
        description=args.description,
        preemptionPolicy=args.preemption_policy,
    )


KINDS: dict[str, Verb] = {
    "ingress": kind(
        "Create an ingress.",
        "NAME --rule=HOST/PATH=SERVICE:PORT[,tls[=SECRET]] [flags]",
        "kubectl-lite create ingress door --rule='shop.example.com/*=web:80,tls=shop-cert'",
        _ingress_flags,
        _ingress,
    ),
    "poddisruptionbudget": kind(
        "Create a pod disruption budget.",
        "NAME --selector=LABELS (--min-available | --max-unavailable)=AMOUNT",
        "kubectl-lite create pdb web --selector=app=web --min-available=1",
        _budget_flags,
        _budget,
    ),
    "priorityclass": kind(
        "Create a priority class.",
        "NAME --value=N [flags]",
        "kubectl-lite create priorityclass high --value=1000 --description='for what matters'",
        _priority_flags,
        _priority,
    ),
}
