"""The API core on the memory store, and objects for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from controlplane.apiserver.api import Api
from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.storage.embedded import EmbeddedStore
from kubeapi.clock import SystemClock
from kubeapi.scheme import SCHEME, Resource
from kubeapi.types import apps_v1, core_v1, meta_v1


def resource(kind: Any) -> Resource:
    return SCHEME.resource_of(kind)


PODS = resource(core_v1.Pod)
CONFIG = resource(core_v1.ConfigMap)
SERVICES = resource(core_v1.Service)
DEPLOYMENTS = resource(apps_v1.Deployment)
NAMESPACES = resource(core_v1.Namespace)
CTX = RequestContext()


@asynccontextmanager
async def memory_api() -> AsyncIterator[Api]:
    async with api_core(store=EmbeddedStore(), clock=SystemClock(), rng=Random(7)) as core:
        yield core


def pod(name: str = "web", **labels: str) -> core_v1.Pod:
    return core_v1.Pod(
        metadata=meta_v1.ObjectMeta(name=name, labels=labels),
        spec=core_v1.PodSpec(containers=[core_v1.Container(name="c", image="busybox:1")]),
    )


def config(name: str, **data: str) -> core_v1.ConfigMap:
    return core_v1.ConfigMap(metadata=meta_v1.ObjectMeta(name=name), data=data)


def deployment(**spec: Any) -> apps_v1.Deployment:
    labels = {"app": "web"}
    template = core_v1.PodTemplateSpec(metadata=meta_v1.ObjectMeta(labels=labels), spec=pod().spec)
    fields = {"selector": meta_v1.LabelSelector(match_labels=labels), "template": template} | spec
    return apps_v1.Deployment(metadata=meta_v1.ObjectMeta(name="web"), spec=apps_v1.DeploymentSpec(**fields))
