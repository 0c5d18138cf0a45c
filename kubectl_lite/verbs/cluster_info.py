"""cluster-info: where the cluster answers."""

from __future__ import annotations

import argparse

from kubectl_lite.session import Session
from kubectl_lite.verb import Verb, no_flags


async def run(args: argparse.Namespace, session: Session) -> int:
    version = await session.server.version()
    session.io.say(f"Kubernetes control plane is running at {session.address} (gRPC, {version['gitVersion']})")
    services = await session.names.find("services")
    found, _ = await session.server.list(services, "kube-system", labels="kubernetes.io/cluster-service=true")
    for service in found:
        title = (service["metadata"].get("labels") or {}).get("kubernetes.io/name", service["metadata"]["name"])
        session.io.say(f"{title} is running at {service['spec'].get('clusterIP', '')}")
    return 0


VERB = Verb("Tell where the cluster answers.", "", "kubectl-lite cluster-info", no_flags, run)
