"""`sampan status`: which processes run, which nodes are ready, how many pods there are. Exit code 0: all is well."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from sampan.cluster_layout import ADMIN, DEFAULT_DIRECTORY, Layout
from sampan.cluster_lock import locked
from sampan.cluster_probe import Probe, is_ready

HELP = "what of the cluster of this machine runs"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan status", description=HELP)
    parser.add_argument("--data-dir", type=Path, default=DEFAULT_DIRECTORY)
    layout = Layout(parser.parse_args(argv).data_dir.absolute())
    settings = layout.settings()
    if settings is None:
        print(f"no cluster in {layout.directory}; `sampan up` makes one")
        return 1
    if not locked(layout):
        print(f"the cluster in {layout.directory} is not running; `sampan up` starts it again")
        return 1
    print(f"supervisor   {layout.lock.read_text()}")
    for line in layout.pids.read_text().splitlines():
        pid, _, name = line.partition(" ")
        print(f"{name:<12} {pid}")
    probe = Probe(port=settings.port, pki=layout.pki)
    try:
        nodes = probe.get("/api/v1/nodes")["items"]
        pods = probe.get("/api/v1/pods")["items"]
    except OSError as error:
        print(f"the API server does not answer: {error}")
        return 1
    for node in nodes:
        print(f"node {node['metadata']['name']:<12} {'Ready' if is_ready(node) else 'NotReady'}")
    phases = Counter(pod.get("status", {}).get("phase", "Unknown") for pod in pods)
    print("pods         " + (", ".join(f"{count} {phase}" for phase, count in sorted(phases.items())) or "none"))
    print(f"kubeconfig   {layout.kubeconfig(ADMIN)}")
    return 0 if nodes and all(is_ready(node) for node in nodes) else 1


if __name__ == "__main__":
    sys.exit(main())
