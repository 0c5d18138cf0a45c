"""create role, rolebinding, serviceaccount, token and their like: who may do what."""

from __future__ import annotations

import argparse
from typing import Any

from kubectl_lite import generate
from kubectl_lite.creating import Make, kind, plain
from kubectl_lite.durations import parse_duration
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb


def _role_flags(flags: Flags) -> None:
    flags.many("--verb", help="get, list, watch, ... (repeatable)", metavar="VERB")
    flags.many("--resource", help="pods, deployments.apps, pods/log (repeatable)", metavar="RESOURCE")
    flags.many("--resource-name", help="only this object (repeatable)", metavar="NAME")


def _role(kind_: str) -> Make:
    async def make(name: str, args: argparse.Namespace, session: Session) -> Any:
        if not args.verb or not args.resource:
            raise UsageError("at least one --verb and one --resource must be specified")
        found = []
        for word in (w for given in args.resource for w in given.split(",")):
            plain, slash, sub = word.partition("/")
            resource = await session.names.find(plain)
            found.append((resource.group, resource.plural + slash + sub))
        verbs = [v for given in args.verb for v in given.split(",")]
        made = generate.rules(verbs, found, args.resource_name)
        return generate.simple("rbac.authorization.k8s.io/v1", kind_, name, rules=made)

    return make


def _binding_flags(flags: Flags) -> None:
    flags.value("--clusterrole", help="the ClusterRole to grant", metavar="NAME")
    flags.value("--role", help="the Role to grant", metavar="NAME")
    flags.many("--user", help="whom (repeatable)", metavar="NAME")
    flags.many("--group", help="whom (repeatable)", metavar="NAME")
    flags.many("--serviceaccount", help="whom: NAMESPACE:NAME (repeatable)", metavar="ACCOUNT")


def _binding(kind_: str) -> Make:
    def make(name: str, args: argparse.Namespace, session: Session) -> Any:
        if bool(args.role) == bool(args.clusterrole) or (args.role and kind_ == "ClusterRoleBinding"):
            raise UsageError("exactly one of clusterrole or role must be specified (a ClusterRoleBinding: clusterrole)")
        api = "rbac.authorization.k8s.io"
        ref = {"apiGroup": api, "kind": "Role" if args.role else "ClusterRole", "name": args.role or args.clusterrole}
        whom = generate.subjects(args.user, args.group, args.serviceaccount)
        return generate.simple(f"{api}/v1", kind_, name, roleRef=ref, subjects=whom)

    return make


def _token_flags(flags: Flags) -> None:
    flags.value("--duration", default="0s", help="how long it is good for; 0: as the server likes", metavar="TIME")
    flags.many("--audience", help="for whom it is; default: the API server (repeatable)", metavar="NAME")
    flags.output()


async def _token(args: argparse.Namespace, session: Session) -> int:
    from kubectl_lite.printing import output

    if len(args.words) != 1:
        raise UsageError(f"exactly one NAME of a service account is required, got {len(args.words)}")
    spec: dict[str, Any] = {"audiences": args.audience} if args.audience else {}
    if seconds := parse_duration(args.duration):
        spec["expirationSeconds"] = int(seconds)
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    accounts = await session.names.find("serviceaccounts")
    made = await session.server.create(accounts, body, session.namespace, name=args.words[0], subresource="token")
    show = output.printer(args.output, here=session.here, given=args.template)
    session.io.out.write(show(made) if show is not None else made["status"]["token"] + "\n")
    return 0


KINDS: dict[str, Verb] = {
    "role": kind(
        "Create a role.",
        "NAME --verb=VERB --resource=RESOURCE [flags]",
        "kubectl-lite create role reader --verb=get,list --resource=pods",
        _role_flags,
        _role("Role"),
    ),
    "clusterrole": kind(
        "Create a cluster role.",
        "NAME --verb=VERB --resource=RESOURCE [flags]",
        "kubectl-lite create clusterrole reader --verb=get,list --resource=nodes",
        _role_flags,
        _role("ClusterRole"),
    ),
    "rolebinding": kind(
        "Create a role binding.",
        "NAME (--role | --clusterrole)=NAME [flags]",
        "kubectl-lite create rolebinding read --role=reader --user=ann",
        _binding_flags,
        _binding("RoleBinding"),
    ),
    "clusterrolebinding": kind(
        "Create a cluster role binding.",
        "NAME --clusterrole=NAME [flags]",
        "kubectl-lite create clusterrolebinding read --clusterrole=reader --serviceaccount=default:robot",
        _binding_flags,
        _binding("ClusterRoleBinding"),
    ),
    "serviceaccount": kind(
        "Create a service account.",
        "NAME [flags]",
        "kubectl-lite create serviceaccount robot",
        None,
        plain("v1", "ServiceAccount"),
    ),
    "token": Verb(
        help="Create a token of a service account.",
        usage="SERVICE_ACCOUNT [flags]",
        examples="kubectl-lite create token robot --duration=10m",
        flags=_token_flags,
        run=_token,
    ),
}
