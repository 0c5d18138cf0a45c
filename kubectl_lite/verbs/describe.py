"""describe: one object laid out to read, with its events. What else it takes is fetched here; the layout is pure."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from kubeapi.errors import NotFound
from kubeapi.scheme import Resource
from kubectl_lite.choosing import selector_of
from kubectl_lite.describe import access, network, others, pods, storage, workloads
from kubectl_lite.errors import UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.manifests import read
from kubectl_lite.names import Target
from kubectl_lite.printing.tabs import align
from kubectl_lite.running import explain
from kubectl_lite.session import Session
from kubectl_lite.verb import Verb

Object = dict[str, Any]
Describe = Callable[[Object, Mapping[str, Sequence[Object]], datetime], list[str]]

KINDS: dict[str, tuple[Describe, tuple[str, ...]]] = {
    # kind: (layout, what it takes beside the object)
    "Pod": (pods.pod, ()),
    "Deployment.apps": (workloads.deployment, ("replicasets",)),
    "ReplicaSet.apps": (workloads.replica_set, ("pods",)),
    "StatefulSet.apps": (workloads.stateful_set, ("pods",)),
    "DaemonSet.apps": (workloads.daemon_set, ("pods",)),
    "Job.batch": (workloads.job, ()),
    "CronJob.batch": (workloads.cron_job, ()),
    "ControllerRevision.apps": (workloads.controller_revision, ()),
    "PodDisruptionBudget.policy": (workloads.disruption_budget, ()),
    "HorizontalPodAutoscaler.autoscaling": (workloads.autoscaler, ()),
    "Service": (network.service, ("endpointslices",)),
    "Endpoints": (network.endpoints, ()),
    "EndpointSlice.discovery.k8s.io": (network.endpoint_slice, ()),
    "Ingress.networking.k8s.io": (network.ingress, ("services", "endpointslices")),
    "NetworkPolicy.networking.k8s.io": (network.network_policy, ()),
    "Node": (others.node, ("pods", "leases")),
    "Namespace": (others.namespace, ("resourcequotas", "limitranges")),
    "ConfigMap": (others.config_map, ()),
    "Secret": (others.secret, ()),
    "PersistentVolumeClaim": (storage.claim, ("pods",)),
    "PersistentVolume": (storage.volume, ()),
    "StorageClass.storage.k8s.io": (storage.storage_class, ()),
    "Role.rbac.authorization.k8s.io": (access.role, ()),
    "ClusterRole.rbac.authorization.k8s.io": (access.role, ()),
    "RoleBinding.rbac.authorization.k8s.io": (access.role_binding, ()),
    "ClusterRoleBinding.rbac.authorization.k8s.io": (access.role_binding, ()),
    "ServiceAccount": (access.service_account, ("secrets",)),
    "ResourceQuota": (access.quota, ()),
    "LimitRange": (access.limit_range, ()),
    "PriorityClass.scheduling.k8s.io": (access.priority_class, ()),
}

NODE_LEASES = "kube-node-lease"
WHOLE_NAMESPACE = {"Ingress", "PersistentVolumeClaim", "ServiceAccount"}
"""Nothing selects what belongs to them: the layout looks through all that the namespace has."""


def _flags(flags: Flags) -> None:
    flags.files()
    flags.selector(everything=False)
    flags.everywhere()
    flags.switch("--show-events", default=True, help="with the object's events")


async def run(args: argparse.Namespace, session: Session) -> int:
    if args.filename:
        targets = [Target(m.resource, m.name) for m in await read(args, session)]
    elif not args.words:
        raise UsageError(
            "You must specify the type of resource to describe, for example `describe pod/web`.\n"
            "`kubectl-lite api-resources` lists the types."
        )
    else:
        targets = await session.names.targets(args.words)
    first, status = True, 0
    for target in targets:
        try:
            found = await _objects(target, args, session)
        except NotFound as error:
            session.io.err.write(explain(error, session.address))
            status = 1
            continue
        for obj in found:
            if not first:
                session.io.out.write("\n\n")
            first = False
            describe, takes = KINDS.get(_key(target.resource), (others.anything, ()))
            related = {plural: await _related(plural, obj, session) for plural in takes}
            if args.show_events:
                related["events"] = await _events(obj, session)
            session.io.out.write("".join(f"{line.rstrip()}\n" for line in align(describe(obj, related, session.now()))))
    if first and not status:
        scope = "" if session.all_namespaces else f" in {session.namespace} namespace."
        session.io.tell(f"No resources found{scope}")
    return status


def _key(resource: Resource) -> str:
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


async def _objects(target: Target, args: argparse.Namespace, session: Session) -> list[Object]:
    """A name that is none may be the beginning of some, as with kubectl."""
    where, server = session.namespace_of(target.resource), session.server
    if not target.name:
        found, _ = await server.list(target.resource, where, labels=args.selector, fields=args.field_selector)
        return found
    try:
        return [await server.get(target.resource, target.name, where)]
    except NotFound:
        found, _ = await server.list(target.resource, where)
        near = [o for o in found if o["metadata"]["name"].startswith(target.name)]
        if not near:
            raise
        return near


async def _related(plural: str, obj: Object, session: Session) -> list[Object]:
    resource = await session.names.find(plural)
    metadata = obj["metadata"]
    labels = fields = ""
    where = metadata.get("namespace", "")
    if plural == "leases":
        where, fields = NODE_LEASES, f"metadata.name={metadata['name']}"
    elif obj["kind"] == "Node":
        fields = f"spec.nodeName={metadata['name']}"
    elif obj["kind"] == "Namespace":
        where = metadata["name"]
    elif obj["kind"] in WHOLE_NAMESPACE:
        pass
    elif plural == "endpointslices":
        labels = f"kubernetes.io/service-name={metadata['name']}"
    else:
        labels = selector_of(obj)
    found, _ = await session.server.list(resource, where, labels=labels, fields=fields)
    return found


async def _events(obj: Object, session: Session) -> list[Object]:
    metadata = obj["metadata"]
    resource = await session.names.find("events")
    fields = f"involvedObject.name={metadata['name']},involvedObject.kind={obj['kind']}"
    found, _ = await session.server.list(resource, metadata.get("namespace", ""), fields=fields)
    uids = ("", metadata.get("uid"), metadata["name"])
    return [e for e in found if e.get("involvedObject", {}).get("uid", "") in uids]


VERB = Verb(
    help="Show an object in detail, with what belongs to it and its events.",
    usage="(-f FILE | TYPE [NAME ... | -l LABELS] | TYPE/NAME ...) [flags]",
    examples="""
kubectl-lite describe pod web-1
kubectl-lite describe deploy/web
kubectl-lite describe nodes
# All pods whose name begins so
kubectl-lite describe pod web
""",
    flags=_flags,
    run=run,
)
