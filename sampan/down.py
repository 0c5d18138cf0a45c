"""`sampan down`: ends the cluster of this machine and takes away all it left: processes, containers, mounts,
namespaces, rules, and (unless --keep-data) the data directory. What is not there is not an error.
"""

import argparse
import os
import select
import shutil
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import docker
from docker.errors import DockerException, NotFound

from sampan import cluster_machine
from sampan.cluster_layout import DEFAULT_DIRECTORY, Layout
from sampan.up import locked

HELP = "end the cluster of this machine and remove what it left"
_END_TIMEOUT_MS = 20_000


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan down", description=HELP)
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY)
    parser.add_argument("--keep-data", action="store_true", help="keep objects and certificates for the next `up`")
    args = parser.parse_args(argv)
    layout = Layout(args.data_dir.absolute())
    if not layout.settings_file.exists() and not layout.logs.exists() and _has_files(layout.directory):
        print(f"sampan down: {layout.directory} holds no cluster; nothing removed", file=sys.stderr)
        return 1
    try:
        end_processes(layout)
        remove_containers(node_names(layout))
        unmount(layout)
        cluster_machine.remove()
    except (cluster_machine.MachineError, DockerException) as error:
        print(f"sampan down: {error}", file=sys.stderr)
        return 1
    if not args.keep_data and layout.directory.exists():
        shutil.rmtree(layout.directory)
    print("the cluster is gone" + (f"; its data is in {layout.directory}" if args.keep_data else ""))
    return 0


def _has_files(directory: Path) -> bool:
    return directory.exists() and any(directory.iterdir())


def end_processes(layout: Layout) -> None:
    """The supervisor ends its children; after its death by force the parent-death signal has."""
    if not locked(layout):
        return
    pid = int(layout.lock.read_text() or "0")
    if not pid:
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        waiter = select.poll()
        waiter.register(handle, select.POLLIN)
        if not waiter.poll(_END_TIMEOUT_MS):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            waiter.poll(_END_TIMEOUT_MS)
    finally:
        os.close(handle)


def node_names(layout: Layout) -> set[str]:
    """Of this cluster, also of an earlier `up` with more nodes."""
    settings = layout.settings()
    known = set(settings.node_names) if settings else set()
    return known | {path.name for path in (layout.directory / "nodes").glob("*")}


def remove_containers(nodes: Collection[str]) -> None:
    """Those that these nodes made: sandboxes last, so that no container loses its network while it still runs."""
    engine = docker.APIClient()
    try:
        found = engine.containers(all=True, filters={"label": "sampan.dev/pod-uid"})
        found = [item for item in found if item["Labels"].get("sampan.dev/node") in nodes]
        found.sort(key=lambda item: item["Labels"].get("sampan.dev/kind") == "sandbox")
        for item in found:
            try:
                engine.remove_container(item["Id"], force=True, v=True)
            except NotFound:
                continue
    finally:
        engine.close()


def unmount(layout: Layout) -> None:
    for point in cluster_machine.mounts_below(layout.directory):
        cluster_machine.run("umount", point)


if __name__ == "__main__":
    sys.exit(main())
