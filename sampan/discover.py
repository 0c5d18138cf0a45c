"""`sampan discover`: what there is to scrape, found through the API server, as files for Prometheus' file_sd_configs.

Debian builds Prometheus without its Kubernetes service discovery (the client library is too large to package), so this does
that part: it watches nodes, services, endpoint slices and pods, with Prometheus' own identity and rights, and keeps
node.json, endpointslice.json and pod.json in --directory. The labels are those that Prometheus' own discovery gives
(__meta_kubernetes_…), so that relabelling is the same; a Prometheus that has it can use kubernetes_sd_configs instead.

A file that Prometheus has read stays valid when we, or the API server, are away. Files are replaced whole.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import SystemRandom
from typing import Any

import uvloop

from kubeapi.client import grpc_client
from kubeapi.client.informer import Informer
from kubeapi.client.interface import Client
from kubeapi.client.kubeconfig import load
from kubeapi.types import core_v1, discovery_v1
from sampan import election, logs

HELP = "keep files that lead Prometheus to what the cluster knows of"
SERVICE_NAME = "kubernetes.io/service-name"
CALM = 0.2
"""Seconds in which changes are gathered before files are written."""

Group = dict[str, Any]
_META = "__meta_kubernetes_"
_log = logging.getLogger("discover")


def of_nodes(nodes: Iterable[core_v1.Node]) -> list[Group]:
    found = []
    for node in nodes:
        addresses = {item.type: item.address for item in node.status.addresses}
        labels = {f"{_META}node_name": node.metadata.name, **_labels("node", node)}
        found.append(_group(addresses.get("InternalIP", node.metadata.name), labels))
    return _sorted(found)


def of_slices(
    slices: Iterable[discovery_v1.EndpointSlice], services: Mapping[tuple[str, str], core_v1.Service]
) -> list[Group]:
    """One target for each address and port."""
    found = []
    for piece in slices:
        namespace = piece.metadata.namespace
        labels = {
            f"{_META}namespace": namespace,
            f"{_META}endpointslice_name": piece.metadata.name,
            **_labels("endpointslice", piece),
        }
        service = services.get((namespace, piece.metadata.labels.get(SERVICE_NAME, "")))
        if service is not None:
            labels |= {f"{_META}service_name": service.metadata.name, **_labels("service", service)}
        for port in piece.ports:
            name = {f"{_META}endpointslice_port_name": port.name or ""}
            for endpoint in piece.endpoints:
                ready = {f"{_META}endpointslice_endpoint_conditions_ready": str(endpoint.conditions.ready).lower()}
                every = labels | name | ready
                found += [_group(_host(address, port.port), every) for address in endpoint.addresses]
    return _sorted(found)


def of_pods(pods: Iterable[core_v1.Pod]) -> list[Group]:
    """One target for each pod that has an address; its port is for relabelling to say."""
    found = []
    for pod in pods:
        if pod.status.pod_ip:
            labels = {
                f"{_META}namespace": pod.metadata.namespace,
                f"{_META}pod_name": pod.metadata.name,
                f"{_META}pod_ip": pod.status.pod_ip,
                f"{_META}pod_node_name": pod.spec.node_name,
                f"{_META}pod_phase": pod.status.phase,
                **_labels("pod", pod),
            }
            found.append(_group(pod.status.pod_ip, labels))
    return _sorted(found)


def _labels(kind: str, obj: Any) -> dict[str, str]:
    made: dict[str, str] = {}
    for word, held in (("label", obj.metadata.labels), ("annotation", obj.metadata.annotations)):
        for name, value in held.items():
            made[f"{_META}{kind}_{word}_{re.sub('[^a-zA-Z0-9_]', '_', name)}"] = value
    return made


def _group(address: str, labels: Mapping[str, str]) -> Group:
    return {"targets": [address], "labels": dict(labels)}


def _host(address: str, port: int | None) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _sorted(groups: list[Group]) -> list[Group]:
    return sorted(groups, key=lambda group: (group["targets"], sorted(group["labels"].items())))


def write(path: Path, groups: Sequence[Group]) -> bool:
    """Whether it had to be written."""
    text = json.dumps(groups, indent=1)
    if path.exists() and path.read_text() == text:
        return False
    part = path.with_suffix(".part")
    part.write_text(text)
    part.replace(path)
    return True


async def run(client: Client, directory: Path) -> None:
    """Until cancelled."""
    rng, changed = SystemRandom(), asyncio.Event()
    nodes = Informer(client, core_v1.Node, rng=rng)
    services = Informer(client, core_v1.Service, rng=rng)
    slices = Informer(client, discovery_v1.EndpointSlice, rng=rng)
    pods = Informer(client, core_v1.Pod, rng=rng)
    informers: list[Informer[Any]] = [nodes, services, slices, pods]
    async with asyncio.TaskGroup() as tasks:
        for informer in informers:
            tasks.create_task(informer.run(), name=informer.name)
        for informer in informers:
            await informer.synced.wait()
            informer.subscribe(lambda old, new: changed.set())
        while True:
            changed.clear()
            by_name = {(s.metadata.namespace, s.metadata.name): s for s in services.cache}
            files = {
                "node": of_nodes(nodes.cache),
                "endpointslice": of_slices(slices.cache, by_name),
                "pod": of_pods(pods.cache),
            }
            for name, groups in files.items():
                if await asyncio.to_thread(write, directory / f"{name}.json", groups):
                    _log.info("%s: %d targets", name, len(groups))
            await changed.wait()
            await asyncio.sleep(CALM)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan discover", description=HELP)
    parser.add_argument("--kubeconfig", type=Path, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where Prometheus reads node.json and the others")
    logs.add_flags(parser)
    args = parser.parse_args(argv)
    logs.start(args)
    uvloop.run(election.until_stopped(_serve(args), name="discover"))
    return 0


async def _serve(args: argparse.Namespace) -> None:
    config = await asyncio.to_thread(load, str(args.kubeconfig))
    await asyncio.to_thread(args.directory.mkdir, parents=True, exist_ok=True)
    async with grpc_client.connect(config.grpc, ca=config.ca, cert=config.cert, key=config.key) as client:
        await run(client, args.directory)
