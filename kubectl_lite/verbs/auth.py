"""auth can-i, auth whoami: what you may do, asked of the server."""

from __future__ import annotations

import argparse
from typing import Any

from kubeapi.errors import Forbidden
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.printing import output
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb

AUTHORIZATION = "authorization.k8s.io/v1"
KNOWN = {
    "*", "approve", "bind", "create", "delete", "deletecollection", "escalate", "get", "impersonate", "list", "patch",
    "proxy", "sign", "update", "use", "watch",
}  # fmt: skip
AUTHENTICATION = "authentication.k8s.io/v1"


def _flags(flags: Flags) -> None:
    flags.everywhere()
    flags.switch("--list", help="everything that you may do in the namespace")
    flags.value("--subresource", help="as log of pods", metavar="NAME")
    flags.switch("-q", "--quiet", help="only the exit code")
    flags.switch("--no-headers", help="rows only")


async def _review(kind: str, spec: dict[str, Any], session: Session) -> dict[str, Any]:
    resource = await session.names.by_kind(AUTHORIZATION, kind)
    if resource is None:
        raise UsageError(f"the server serves no {kind}")
    body = {"apiVersion": AUTHORIZATION, "kind": kind, "metadata": {}, "spec": spec}
    status: dict[str, Any] = (await session.server.create(resource, body)).get("status", {})
    return status


async def can_i(args: argparse.Namespace, session: Session) -> int:
    if args.list:
        return await _list(args, session)
    if len(args.words) not in (2, 3):
        raise UsageError(
            "you must specify two arguments: verb resource or verb resource/resourceName.\n"
            "See 'kubectl-lite auth can-i --help' for usage."
        )
    verb, what = args.words[:2]
    if what.startswith("/"):
        spec: dict[str, Any] = {"nonResourceAttributes": {"verb": verb, "path": what}}
    else:
        plain, _, slashed = what.partition("/")
        if verb not in KNOWN:
            session.io.warn(f"verb '{verb}' is not a known verb\n")
        group, resource, namespaced = await _resource(plain, session)
        attributes = {
            "verb": verb,
            "group": group,
            "resource": resource,
            "namespace": "" if args.all_namespaces or not namespaced else session.namespace,
            "name": args.words[2] if len(args.words) == 3 else slashed,
            "subresource": args.subresource,
        }
        if not namespaced:
            session.io.warn(f"resource '{resource}' is not namespace scoped{f' in group {group!r}' if group else ''}\n")
        spec = {"resourceAttributes": {k: v for k, v in attributes.items() if v}}
    status = await _review("SelfSubjectAccessReview", spec, session)
    allowed = bool(status.get("allowed"))
    if not args.quiet:
        session.io.say("yes" if allowed else "no" + (f" - {status['reason']}" if status.get("reason") else ""))
    return 0 if allowed else 1


async def _resource(word: str, session: Session) -> tuple[str, str, bool]:
    """Group, plural, and whether it is namespaced. A word that is none is asked about all the same: rules may name it."""
    if word == "*":
        return "*", "*", True
    try:
        found = await session.names.find(word)
    except UsageError:
        plain, _, group = word.partition(".")
        where = f" in group '{group}'" if group else ""
        session.io.warn(f"the server doesn't have a resource type '{plain}'{where}\n")
        return group, plain, True
    return found.group, found.plural, found.namespaced


async def _list(args: argparse.Namespace, session: Session) -> int:
    status = await _review("SelfSubjectRulesReview", {"namespace": session.namespace}, session)
    rows = []
    for rule in status.get("resourceRules") or []:
        groups, found = rule.get("apiGroups") or [""], rule.get("resources") or []
        names = [f"{r}.{g}" if g else r for g in groups for r in found]
        rows.append([",".join(names), "[]", _bracketed(rule.get("resourceNames")), _bracketed(rule.get("verbs"))])
    rows += [
        ["", _bracketed(rule.get("nonResourceURLs")), "[]", _bracketed(rule.get("verbs"))]
        for rule in status.get("nonResourceRules") or []
    ]
    header = ["Resources", "Non-Resource URLs", "Resource Names", "Verbs"]
    output.columns(header, rows, session.io, show_header=not args.no_headers)
    return 0


def _whoami_flags(flags: Flags) -> None:
    flags.output()


async def whoami(args: argparse.Namespace, session: Session) -> int:
    resource = await session.names.by_kind(AUTHENTICATION, "SelfSubjectReview")
    if resource is None:
        raise UsageError("the server serves no SelfSubjectReview")
    show = output.printer(args.output, here=session.here, managed_fields=True, given=args.template)
    try:
        review = await session.server.create(
            resource, {"apiVersion": AUTHENTICATION, "kind": "SelfSubjectReview", "metadata": {}}
        )
    except Forbidden as error:
        raise Failed(
            "the selfsubjectreviews API is not enabled in the cluster or you do not have permission to call it"
        ) from error
    if show is not None:
        session.io.out.write(show(review))
        return 0
    user = review.get("status", {}).get("userInfo") or {}
    rows = [["Username", user.get("username", "")]]
    rows += [["UID", user["uid"]]] if user.get("uid") else []
    rows += [["Groups", _bracketed(user["groups"])]] if user.get("groups") else []
    rows += [[f"Extra: {key}", _bracketed(values)] for key, values in sorted((user.get("extra") or {}).items())]
    output.columns(["ATTRIBUTE", "VALUE"], rows, session.io)
    return 0


def _bracketed(values: list[str] | None) -> str:
    return f"[{' '.join(values or [])}]"


VERB = Verb(
    help="Ask what you may do, and who you are.",
    usage="(can-i | whoami) [flags]",
    examples="kubectl-lite auth can-i create pods\nkubectl-lite auth can-i --list -n test",
    sub={
        "can-i": Verb(
            "Tell whether you may do something. Exit code 0: yes, 1: no.",
            "(VERB RESOURCE [NAME] | --list) [flags]",
            "kubectl-lite auth can-i delete deployments.apps -n test\nkubectl-lite auth can-i get pods --subresource=log",
            _flags,
            can_i,
        ),
        "whoami": Verb(
            "Tell who the server takes you for.", "[flags]", "kubectl-lite auth whoami", _whoami_flags, whoami
        ),
    },
)
