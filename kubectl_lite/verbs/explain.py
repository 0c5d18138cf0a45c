"""explain: what fields a kind has, asked of the server."""

from __future__ import annotations

import argparse

from kubeapi.scheme import Resource
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.schema import Document, explained
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb

REFERENCE = "https://kubernetes.io/docs/reference/kubernetes-api/"


def _flags(flags: Flags) -> None:
    flags.switch("--recursive", help="with the fields of the fields")
    flags.value("--api-version", help="of this group and version: autoscaling/v1", metavar="GROUP/VERSION")
    flags.choice("-o", "--output", choices=["plaintext"], default="plaintext", help="form of the output")


async def run(args: argparse.Namespace, session: Session) -> int:
    if not args.words:
        raise UsageError(
            "You must specify the type of resource to explain, for example `explain pods.spec`.\n"
            "`kubectl-lite api-resources` lists the types."
        )
    if len(args.words) > 1:
        raise UsageError("We accept only this format: explain RESOURCE, or RESOURCE.FIELD.FIELD")
    word, *path = args.words[0].strip(".").split(".")
    resource = await _resource(word, args.api_version, session)
    document = Document(await session.server.schema(resource.group, resource.version))
    root = document.of_kind(resource.group, resource.version, resource.kind)
    if root is None:
        raise Failed(f"the server's schema of {resource.api_version} knows no {resource.kind}")
    kind = (resource.group, resource.version, resource.kind)
    for line in explained(document, root, path, kind=kind, recursive=args.recursive):
        session.io.say(line)
    if not document.described:
        session.io.tell(f"This server's schema knows types but has no descriptions; Kubernetes' are at {REFERENCE}")
    return 0


async def _resource(word: str, api_version: str, session: Session) -> Resource:
    found = await session.names.find(word)
    if not api_version or found.api_version == api_version:
        return found
    for other in await session.names.served():
        if other.api_version == api_version and other.plural == found.plural:
            return other
    raise UsageError(
        f'couldn\'t find resource for "{api_version}, Resource={found.plural}"\n'
        "`kubectl-lite api-versions` lists the versions."
    )


VERB = Verb(
    help="Show the fields of a resource.",
    usage="TYPE[.FIELD ...] [--recursive] [--api-version=GROUP/VERSION]",
    examples="""
kubectl-lite explain pods
kubectl-lite explain pods.spec.containers
kubectl-lite explain deploy.spec.strategy --recursive
kubectl-lite explain hpa --api-version=autoscaling/v1
""",
    flags=_flags,
    run=run,
)
