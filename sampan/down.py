"""`sampan down`: ends the cluster of this machine and takes away all it left: processes, containers, mounts,
namespaces, rules, and (unless --keep-data) the data directory. What is not there is not an error.
"""

import argparse
import os
import select
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sampan import cluster_machine
from sampan.cluster_containers import ContainersError
from sampan.cluster_layout import DEFAULT_DIRECTORY, Layout
from sampan.cluster_lock import locked, other_cluster
from sampan.cluster_remains import clear

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
    settings = layout.settings()
    if not (settings is not None and settings.hollow) and (other := other_cluster(layout)):
        # Bridge, namespaces and rules are its own now: nothing of this directory can be among them.
        print(f"sampan down: the cluster that runs on this machine is {other}; nothing removed", file=sys.stderr)
        return 1
    try:
        end_processes(layout)
        clear(layout)
    except (cluster_machine.MachineError, ContainersError) as error:
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


if __name__ == "__main__":
    sys.exit(main())
