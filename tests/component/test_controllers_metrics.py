"""What a manager tells about itself, over its own port."""

from __future__ import annotations

import argparse
import asyncio
import logging
from random import Random

from prometheus_client import CollectorRegistry

from controlplane.apiserver.build import api_core
from controlplane.apiserver.context import RequestContext
from controlplane.controllers.metrics import Metrics
from controlplane.storage.embedded import EmbeddedStore
from hack.metrics import names as documented
from kubeapi.client.controller import Controller, Done, own_key
from kubeapi.client.informer import Informer
from kubeapi.client.keys import Key
from kubeapi.client.local import LocalClient
from kubeapi.clock import SystemClock
from kubeapi.errors import ServiceUnavailable
from kubeapi.meta import replace
from kubeapi.types import core_v1
from sampan import controllers, health
from sampan.controllers import manager
from tests.support.make import make_deployment, make_node
from tests.support.until import until


async def ask(where: str, path: str, method: str = "GET") -> tuple[int, str]:
    host, _, port = where.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return int(head.split()[1]), body


async def test_queues_are_told_under_the_names_of_kubernetes() -> None:
    clock, rng, metrics = SystemClock(), Random(3), Metrics()
    async with (
        api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api,
        health.serve("127.0.0.1:0", registry=metrics.registry) as where,
    ):
        client = LocalClient(api, context=RequestContext)
        running = asyncio.create_task(manager(client, clock=clock, rng=rng, metrics=metrics).run())
        wanted = make_deployment(replicas=2)
        await client.create(replace(wanted, metadata=replace(wanted.metadata, uid="", creation_timestamp=None)))
        await until(client, core_v1.Pod, lambda pods: len(pods) == 2, seconds=10)
        status, text = await ask(where, "/metrics")
        running.cancel()
        await asyncio.wait([running])
    assert status == 200
    assert {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")} <= documented()
    told = {line.split(" ")[0] for line in text.splitlines()}
    names = ("depth", "adds_total", "queue_duration_seconds_count", "work_duration_seconds_count")
    assert told >= {f'workqueue_{name}{{name="replicaset"}}' for name in names}
    assert 'controller_runtime_reconcile_total{controller="replicaset",result="success"}' in told
    assert "default/web" not in text
    assert 'controller_runtime_reconcile_errors_total{controller="replicaset"}' in told, "before the first failure, too"
    assert 'workqueue_longest_running_processor_seconds{name="replicaset"}' in told
    pods = {"client": "controllers", "group": "", "resource": "pods"}
    registry = metrics.registry
    assert registry.get_sample_value("reflector_lists_total", pods) == 1
    assert registry.get_sample_value("sampan_informer_relists_total", pods) == 0
    assert (registry.get_sample_value("sampan_informer_events_total", pods) or 0) >= 2
    assert (registry.get_sample_value("sampan_informer_lag_seconds_sum", pods) or 9) < 5
    assert (
        registry.get_sample_value("reflector_last_resource_version", pods)
        == api.cache.collection("/registry/core/pods/").steps[-1].revision
    ), "no revision behind"
    assert "process_cpu_seconds_total" in told and any(line.startswith("kubernetes_build_info{") for line in told)


async def test_nodes_that_are_not_ready_are_told_while_the_manager_is_in_office() -> None:
    clock, rng, metrics = SystemClock(), Random(3), Metrics()
    flags = argparse.ArgumentParser()
    controllers.add_flags(flags)

    def unhealthy() -> float | None:
        return metrics.registry.get_sample_value("node_collector_unhealthy_nodes_in_zone", {"zone": ""})

    async def told(wanted: float | None) -> None:
        async with asyncio.timeout(5):
            while unhealthy() != wanted:  # noqa: ASYNC110 - the page is asked, as Prometheus would
                await asyncio.sleep(0.01)

    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        client = LocalClient(api, context=RequestContext)
        term = asyncio.create_task(
            controllers.one_term(flags.parse_args([]), client, ca=b"", clock=clock, rng=rng, metrics=metrics)
        )
        dead = make_node("n1", ready="False")
        await client.create(replace(dead, metadata=replace(dead.metadata, uid="", creation_timestamp=None)))
        await told(1)
        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.patch(core_v1.Node, "n1", ready, subresource="status")  # others write the node, too
        await told(0)
        term.cancel()
        await asyncio.wait([term])
    assert unhealthy() is None, "who has left office sees no nodes any longer"


async def test_what_reconciles_now_is_told_and_a_cancelled_visit_is_no_failure() -> None:
    clock, rng, metrics = SystemClock(), Random(3), Metrics()
    begun = asyncio.Event()

    async def dawdle(key: Key) -> Done:
        begun.set()
        await asyncio.Event().wait()
        return Done()

    def told(name: str) -> float | None:
        label = "name" if name.startswith("workqueue") else "controller"
        return metrics.registry.get_sample_value(name, {label: "lazy"})

    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        informer = Informer(LocalClient(api, context=RequestContext), core_v1.Namespace, rng=rng)
        controller: Controller[Key] = Controller(
            "lazy", dawdle, sources={informer: own_key}, clock=clock, rng=rng, metrics=metrics, workers=2
        )
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(informer.run()), tasks.create_task(controller.run())]
            await begun.wait()
            assert (told("controller_runtime_active_workers") or 0) >= 1
            assert told("controller_runtime_max_concurrent_reconciles") == 2
            assert (told("workqueue_unfinished_work_seconds") or 0) > 0
            for job in jobs:
                job.cancel()
    assert told("controller_runtime_active_workers") == 0
    assert told("controller_runtime_reconcile_errors_total") == 0


async def test_failures_are_counted_by_controller() -> None:
    clock, rng, metrics = SystemClock(), Random(3), Metrics()
    failed = asyncio.Event()

    async def refuse(key: Key) -> Done:
        failed.set()
        raise ServiceUnavailable("not now")

    async with api_core(store=EmbeddedStore(), clock=clock, rng=rng) as api:
        client = LocalClient(api, context=RequestContext)
        informer = Informer(client, core_v1.Namespace, rng=rng)
        controller: Controller[Key] = Controller(
            "sulky", refuse, sources={informer: own_key}, clock=clock, rng=rng, metrics=metrics,
            log=logging.getLogger("quiet"),
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(informer.run()), tasks.create_task(controller.run())]
            await failed.wait()
            await asyncio.sleep(0)
            for job in jobs:
                job.cancel()
    assert (
        metrics.registry.get_sample_value("controller_runtime_reconcile_errors_total", {"controller": "sulky"}) or 0
    ) >= 1
    assert (metrics.registry.get_sample_value("workqueue_retries_total", {"name": "sulky"}) or 0) >= 1


async def test_the_health_port_answers_what_it_knows_and_outlives_nonsense() -> None:
    problem = ""
    async with health.serve("127.0.0.1:0", registry=CollectorRegistry(), ready=lambda: problem) as where:
        assert await ask(where, "/healthz?verbose") == (200, "ok")
        problem = "no informer has been filled"
        assert await ask(where, "/readyz") == (503, problem)
        assert (await ask(where, "/etc/passwd"))[0] == 404
        assert (await ask(where, "/metrics", "DELETE"))[0] == 405
        host, _, port = where.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"\x00\xff" * 9000)
        assert await reader.read() == b""
        writer.close()
        assert await ask(where, "/livez") == (200, "ok")
