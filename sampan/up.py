"""`sampan up`: a cluster on this machine in one process group.

Flow: make what is missing (certificates, kubeconfigs, bridge and namespaces, our two images), start the control plane
(API server, scheduler and controllers in one process), then one agent per node in its namespace, and wait until every
node says it is ready. The supervisor stays behind; `up` returns. Doing it again is harmless: a running cluster is
reported, a killed or rebooted one finds its objects in the data directory and its containers by their labels.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from kubeapi.clock import Clock, SystemClock
from sampan import cluster_machine
from sampan.cluster_containers import ContainersError, ensure_images, remove_containers
from sampan.cluster_credentials import make_credentials
from sampan.cluster_layout import ADMIN, DEFAULT_DIRECTORY, Layout, Settings
from sampan.cluster_lock import LockError, last_cluster, locked, only_cluster, other_cluster, refusal_of
from sampan.cluster_probe import Probe, is_ready
from sampan.cluster_remains import clear_another
from sampan.cluster_supervisor import Component, Supervisor

HELP = "start a cluster on this machine"
TOOLS = ("ip", "nft", "nsenter")
_START_TIMEOUT = 60.0
_TRIES = 3
"""Ends of the API server before it first answers; then it is no accident."""


class UpError(Exception):
    """Why no cluster can start, in words for the person who asked."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan up", description=HELP)
    parser.add_argument("--nodes", type=int, default=None, help="default: 1, or as at the first `up`")
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("--port", type=int, default=6443, help="of the API server")
    parser.add_argument("--foreground", action="store_true", help="supervise here instead of in the background")
    parser.add_argument("--node-monitor-grace", type=float, default=40.0, metavar="SECONDS")
    parser.add_argument("--pod-eviction", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--report", type=int, default=-1, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    layout = Layout(args.data_dir.absolute())
    try:
        if args.foreground:
            return asyncio.run(_supervise(layout, _settings(layout, args), args.report, SystemClock()))
        return _in_background(layout, _settings(layout, args))
    except (UpError, LockError, ContainersError, cluster_machine.MachineError) as error:
        print(f"sampan up: {error}", file=sys.stderr)
        return 1


def _settings(layout: Layout, args: argparse.Namespace) -> Settings:
    known = layout.settings()
    if args.nodes is not None and not 1 <= args.nodes <= 100:
        raise UpError("--nodes is 1 to 100")
    if known is not None and known.standalone:
        raise UpError(f"{layout.directory} holds a cluster of `sampan standalone`: --data-dir takes another place")
    if known is not None:
        return Settings(
            args.nodes or known.nodes, known.port, known.grpc_port, known.node_monitor_grace, known.pod_eviction
        )
    return Settings(args.nodes or 1, args.port, args.port + 1, args.node_monitor_grace, args.pod_eviction)


def _in_background(layout: Layout, settings: Settings) -> int:
    if locked(layout):
        print(f"the cluster runs already: {layout.directory}")
        _hint(layout)
        return 0
    cluster_machine.require_tools(*TOOLS)
    if directory := other_cluster(layout):
        raise LockError(refusal_of(directory))
    cluster_machine.require_ports(settings.port, settings.grpc_port)
    layout.logs.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    command = [
        sys.executable, "-m", "sampan", "up", "--foreground",
        f"--data-dir={layout.directory}", f"--nodes={settings.nodes}", f"--port={settings.port}",
        f"--node-monitor-grace={settings.node_monitor_grace}", f"--pod-eviction={settings.pod_eviction}",
        f"--report={writing}",
    ]  # fmt: skip
    with layout.log("up").open("ab") as log:
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writing], start_new_session=True
        )
    os.close(writing)
    last = ""
    with os.fdopen(reading, "r") as report:
        for line in report:
            last = line.strip()
            if last == "ready":
                _hint(layout)
                return 0
            print(last, flush=True)
    raise UpError(f"the cluster did not start; see {layout.logs}")


def _hint(layout: Layout) -> None:
    print(f"export KUBECONFIG={layout.kubeconfig(ADMIN)}")


class Report:
    """Progress, to the terminal or to the waiting `up`; who no longer listens harms nothing."""

    def __init__(self, descriptor: int, clock: Clock) -> None:
        self._descriptor, self._clock = descriptor, clock
        self._begun = clock.monotonic()

    def say(self, text: str) -> None:
        line = f"{self._clock.monotonic() - self._begun:6.2f} s  {text}"
        print(line, flush=True)
        self._send(line)

    def ready(self) -> None:
        self._send("ready")
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _send(self, line: str) -> None:
        if self._descriptor >= 0:
            try:
                os.write(self._descriptor, (line + "\n").encode())
            except BrokenPipeError:
                self._descriptor = -1


async def _supervise(layout: Layout, settings: Settings, descriptor: int, clock: Clock) -> int:
    cluster_machine.require_tools(*TOOLS)
    layout.logs.mkdir(parents=True, exist_ok=True)
    report = Report(descriptor, clock)
    before = last_cluster()
    with only_cluster(layout):
        if before not in ("", str(layout.directory)) and (done := await asyncio.to_thread(clear_another, before)):
            report.say(done)
        return await _run(layout, settings, report, clock)


async def _run(layout: Layout, settings: Settings, report: Report, clock: Clock) -> int:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ending.set)
    await asyncio.to_thread(prepare, layout, settings, report, clock.now())
    supervisor = Supervisor(say=report.say, pids=layout.pids)
    server, others = layout.components(settings)
    probe = Probe(port=settings.port, pki=layout.pki)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(ending.wait(), name="ending")
        tasks = [group.create_task(supervisor.keep(server), name=server.name)]
        starting = group.create_task(_start(supervisor, tasks, group, probe, server, others, settings, report, clock))
        await asyncio.wait([waiting, starting], return_when=asyncio.FIRST_COMPLETED)
        if starting.done() and not starting.result():
            ending.set()
        await waiting
        starting.cancel()
        report.say("ending")
        await supervisor.stop()
        for task in tasks:
            task.cancel()
    return 0


async def _start(
    supervisor: Supervisor,
    tasks: list[asyncio.Task[None]],
    group: asyncio.TaskGroup,
    probe: Probe,
    server: Component,
    others: Sequence[Component],
    settings: Settings,
    report: Report,
    clock: Clock,
) -> bool:
    deadline = clock.monotonic() + _START_TIMEOUT
    while not await asyncio.to_thread(probe.ready):
        if clock.monotonic() > deadline or supervisor.ended[server.name] >= _TRIES:
            report.say(f"the API server does not answer; the end of its log:\n{_end_of(server.log)}")
            return False
        await asyncio.sleep(0.05)  # It has no way yet to tell us; a refused connection costs nothing.
    report.say(f"API server answers on port {settings.port}")
    begun = clock.now()
    tasks += [group.create_task(supervisor.keep(component), name=component.name) for component in others]
    missing = await asyncio.to_thread(_wait_for_nodes, probe, set(settings.node_names), begun, report, clock)
    if missing:
        report.say(f"not ready: {', '.join(sorted(missing))}")
        return False
    report.say("the cluster is ready")
    report.ready()
    return True


def _end_of(log: Path, lines: int = 5) -> str:
    try:
        return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"    {error}"


def _wait_for_nodes(probe: Probe, missing: set[str], since: datetime, report: Report, clock: Clock) -> set[str]:
    deadline = clock.monotonic() + _START_TIMEOUT
    while missing and (left := deadline - clock.monotonic()) > 0:
        for node in probe.watch_nodes(left):
            name = node["metadata"]["name"]
            if name in missing and is_ready(node, since):
                missing.discard(name)
                report.say(f"node {name} is ready")
            if not missing or clock.monotonic() > deadline:
                break
    return missing


def prepare(layout: Layout, settings: Settings, report: Report, now: datetime) -> None:
    """All that must be there before the first process. Blocking; keeps what is there."""
    addresses = {name: cluster_machine.address(index) for index, name in enumerate(settings.node_names)}
    make_credentials(layout, settings, machine=cluster_machine.MACHINE, nodes=addresses, now=now)
    layout.save(settings)
    if unwanted := cluster_machine.nodes() - set(settings.node_names):
        remove_containers(unwanted)
        cluster_machine.remove_nodes(unwanted)
        report.say(f"removed {', '.join(sorted(unwanted))}, no longer wanted")
    cluster_machine.ensure(settings.node_names)
    for node in settings.node_names:
        layout.node_directory(node).mkdir(parents=True, exist_ok=True)
    report.say(f"network for {settings.nodes} nodes")
    if made := ensure_images():
        report.say(f"made images {', '.join(made)}")


if __name__ == "__main__":
    sys.exit(main())
