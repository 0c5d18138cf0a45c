"""create: new objects from manifests, or of common kinds from flags; refused when they exist."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from kubeapi.errors import ApiError
from kubectl_lite import generate
from kubectl_lite.creating import kind, plain, send, shared
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import read
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb
from kubectl_lite.verbs.create_access import KINDS as ACCESS
from kubectl_lite.verbs.create_rules import KINDS as RULES


def _file_flags(flags: Flags) -> None:
    flags.files()
    shared(flags)


async def run(args: argparse.Namespace, session: Session) -> int:
    if not (args.filename or args.kustomize):
        raise UsageError("must specify one of -f and -k, or a kind to create: see 'kubectl-lite create --help'")
    status = 0
    manifests = await read(args, session)
    for manifest in manifests:
        try:
            await send(manifest.object, args, session)
        except ApiError as error:
            session.io.err.write(explain(error, session.address, when="creating", source=manifest.source))
            status = 1
    return status


def _deployment_flags(flags: Flags) -> None:
    flags.many("--image", help="of a container (repeatable)", metavar="IMAGE")
    flags.number("-r", "--replicas", default=1, help="how many pods")
    flags.value("--port", help="that the first container listens on", metavar="PORT")


def _deployment(name: str, args: argparse.Namespace, session: Session) -> Any:
    return generate.deployment(name, args.image, replicas=args.replicas, port=args.port, command=args.rest)


def _content_flags(flags: Flags) -> None:
    flags.many("--from-file", help="[KEY=]FILE, or a folder (repeatable)", metavar="FILE")
    flags.many("--from-literal", help="KEY=VALUE (repeatable)", metavar="PAIR")
    flags.many("--from-env-file", help="a file of KEY=VALUE lines (repeatable)", metavar="FILE")


def _secret_flags(flags: Flags) -> None:
    _content_flags(flags)
    flags.value("--type", help="of the secret; default Opaque")


async def _content(args: argparse.Namespace, session: Session) -> dict[str, bytes]:
    return await asyncio.to_thread(
        generate.files_and_literals, args.from_file, args.from_literal, args.from_env_file, session.here
    )


async def _config_map(name: str, args: argparse.Namespace, session: Session) -> Any:
    return generate.config_map(name, await _content(args, session))


async def _generic(name: str, args: argparse.Namespace, session: Session) -> Any:
    return generate.secret(name, await _content(args, session), args.type)


def _tls_flags(flags: Flags) -> None:
    flags.value("--cert", help="PEM file of the certificate", metavar="FILE")
    flags.value("--key", help="PEM file of its private key", metavar="FILE")


async def _tls(name: str, args: argparse.Namespace, session: Session) -> Any:
    if not args.cert or not args.key:
        raise UsageError("key and cert must be specified: --cert=FILE --key=FILE")
    cert = await asyncio.to_thread((session.here / args.cert).read_bytes)
    key = await asyncio.to_thread((session.here / args.key).read_bytes)
    for file, text in ((args.cert, cert), (args.key, key)):
        if b"-----BEGIN " not in text:
            raise UsageError(f"{file} is no PEM file")
    return generate.secret(name, {"tls.crt": cert, "tls.key": key}, "kubernetes.io/tls")


def _registry_flags(flags: Flags) -> None:
    flags.value("--docker-server", default="https://index.docker.io/v1/", help="of the registry", metavar="URL")
    flags.value("--docker-username", help="who", metavar="NAME")
    flags.value("--docker-password", help="its password", metavar="TEXT")
    flags.value("--docker-email", help="optional")


def _registry(name: str, args: argparse.Namespace, session: Session) -> Any:
    if not args.docker_username or not args.docker_password:
        raise UsageError("--docker-username and --docker-password are required")
    config = generate.docker_config(args.docker_server, args.docker_username, args.docker_password, args.docker_email)
    return generate.secret(name, {".dockerconfigjson": config}, "kubernetes.io/dockerconfigjson")


def _service(type_: str) -> Verb:
    def flags(given: Flags) -> None:
        given.many("--tcp", help="PORT[:TARGET] (repeatable)", metavar="PORTS")
        if type_ == "ClusterIP":
            given.value("--clusterip", help="None makes a headless service", metavar="None")
        if type_ == "ExternalName":
            given.value("--external-name", help="the DNS name it stands for", metavar="NAME")
        if type_ == "NodePort":
            given.number("--node-port", default=0, help="of the first port", metavar="PORT")

    def make(name: str, args: argparse.Namespace, session: Session) -> Any:
        if type_ == "ExternalName" and not args.external_name:
            raise UsageError("--external-name is required")
        made = generate.service(
            name,
            type_,
            args.tcp,
            external_name=getattr(args, "external_name", ""),
            headless=getattr(args, "clusterip", "") == "None",
        )
        if getattr(args, "node_port", 0):
            made["spec"]["ports"][0]["nodePort"] = args.node_port
        return made

    example = f"kubectl-lite create service {type_.lower()} web --tcp=80:8080"
    if type_ == "ExternalName":
        example = "kubectl-lite create service externalname db --external-name=db.example.com"
    return kind(f"Create a {type_} service, for pods with the label app=NAME.", "NAME [flags]", example, flags, make)


def _job_flags(flags: Flags) -> None:
    flags.value("--image", help="what to run", metavar="IMAGE")
    flags.value("--from", help="cronjob/NAME to run once, now", metavar="CRONJOB")


async def _job(name: str, args: argparse.Namespace, session: Session) -> Any:
    source = getattr(args, "from")
    if bool(source) == bool(args.image):
        raise UsageError("either --image or --from must be specified")
    if not source:
        return generate.job(name, args.image, args.rest)
    target = (await session.names.targets([source]))[0]
    if target.resource.kind != "CronJob":
        raise UsageError(f"--from: {source!r} is no cronjob/NAME")
    return generate.job_from_cron_job(name, await session.server.get(target.resource, target.name, session.namespace))


def _cron_job_flags(flags: Flags) -> None:
    flags.value("--image", help="what to run", metavar="IMAGE")
    flags.value("--schedule", help="when, as in crontab", metavar="CRON")
    flags.choice("--restart", choices=["OnFailure", "Never"], default="OnFailure", help="of the pods")


def _cron_job(name: str, args: argparse.Namespace, session: Session) -> Any:
    if not args.image or not args.schedule:
        raise UsageError("--image and --schedule are required")
    return generate.cron_job(name, args.image, args.schedule, args.restart, args.rest)


def _quota_flags(flags: Flags) -> None:
    flags.many("--hard", help="RESOURCE=AMOUNT[,RESOURCE=AMOUNT]", metavar="LIMITS")
    flags.many("--scopes", help="which objects count", metavar="SCOPE")


def _quota(name: str, args: argparse.Namespace, session: Session) -> Any:
    spec: dict[str, Any] = {"hard": generate.pairs([w for h in args.hard for w in h.split(",")], "--hard")}
    if args.scopes:
        spec["scopes"] = [s for word in args.scopes for s in word.split(",")]
    return generate.simple("v1", "ResourceQuota", name, spec=spec)


_SECRETS = {
    "generic": kind(
        "Create a secret from files or literals.",
        "NAME [flags]",
        "kubectl-lite create secret generic db --from-literal=password=s3cret",
        _secret_flags,
        _generic,
    ),
    "tls": kind(
        "Create a secret of a certificate and its key.",
        "NAME --cert=FILE --key=FILE",
        "kubectl-lite create secret tls web --cert=web.crt --key=web.key",
        _tls_flags,
        _tls,
    ),
    "docker-registry": kind(
        "Create a secret to pull images with.",
        "NAME --docker-username=NAME --docker-password=TEXT [flags]",
        "kubectl-lite create secret docker-registry pull --docker-username=me --docker-password=s3cret",
        _registry_flags,
        _registry,
    ),
}

_KINDS = {
    "deployment": kind(
        "Create a deployment.",
        "NAME --image=IMAGE [flags] [-- COMMAND ARG ...]",
        "kubectl-lite create deployment web --image=nginx --replicas=3",
        _deployment_flags,
        _deployment,
    ),
    "configmap": kind(
        "Create a config map from files or literals.",
        "NAME [flags]",
        "kubectl-lite create configmap web --from-file=web.conf --from-literal=mode=fast",
        _content_flags,
        _config_map,
    ),
    "secret": Verb(
        help="Create a secret.",
        usage="(generic | tls | docker-registry) NAME [flags]",
        examples="kubectl-lite create secret generic db --from-literal=password=s3cret",
        sub=_SECRETS,
    ),
    "namespace": kind(
        "Create a namespace.",
        "NAME [flags]",
        "kubectl-lite create namespace test",
        None,
        plain("v1", "Namespace"),
    ),
    "service": Verb(
        help="Create a service.",
        usage="(clusterip | nodeport | loadbalancer | externalname) NAME [flags]",
        examples="kubectl-lite create service clusterip web --tcp=80:8080",
        sub={t.lower(): _service(t) for t in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")},
    ),
    "job": kind(
        "Create a job.",
        "NAME (--image=IMAGE | --from=cronjob/NAME) [flags] [-- COMMAND ARG ...]",
        "kubectl-lite create job once --image=busybox -- date",
        _job_flags,
        _job,
    ),
    "cronjob": kind(
        "Create a cron job.",
        "NAME --image=IMAGE --schedule=CRON [flags] [-- COMMAND ARG ...]",
        "kubectl-lite create cronjob tick --image=busybox --schedule='*/5 * * * *' -- date",
        _cron_job_flags,
        _cron_job,
    ),
    "quota": kind(
        "Create a resource quota.",
        "NAME --hard=RESOURCE=AMOUNT[,...] [flags]",
        "kubectl-lite create quota small --hard=pods=10,requests.cpu=4",
        _quota_flags,
        _quota,
    ),
}
_SHORT = {"deploy": "deployment", "cm": "configmap", "ns": "namespace", "svc": "service", "sa": "serviceaccount"}
_SHORT |= {
    "cj": "cronjob",
    "resourcequota": "quota",
    "pdb": "poddisruptionbudget",
    "ing": "ingress",
    "pc": "priorityclass",
}
_EVERY = _KINDS | ACCESS | RULES

VERB = Verb(
    help="Create objects from manifests, or of common kinds from flags.",
    usage="(-f FILE | KIND NAME) [flags]",
    examples="""
# From a manifest
kubectl-lite create -f web.yaml
# From a few words
kubectl-lite create deployment web --image=nginx --replicas=3
# Only show what would be sent
kubectl-lite create deployment web --image=nginx --dry-run=client -o yaml
""",
    flags=_file_flags,
    run=run,
    sub=_EVERY | {short: _EVERY[full] for short, full in _SHORT.items()},
)
