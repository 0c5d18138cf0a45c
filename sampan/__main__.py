"""`sampan COMMAND …`: each command is a module of this package with `HELP` and `main(argv) -> exit code`.

Only the module that was asked for is imported, so that `sampan status` does not pay for a scheduler.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from sampan import collector

COMMANDS = {
    "up": "start a cluster on this machine",
    "standalone": "a cluster of this machine alone, in one process",
    "down": "end the cluster of this machine and remove what it left",
    "status": "what of the cluster of this machine runs",
    "load": "make an image known to the nodes",
    "demo": "show on this machine what a cluster does",
    "cluster": "start, load, check and end the cluster of docker-compose.yml",
    "init": "make the certificates and kubeconfigs of a cluster of several machines",
    "apiserver": "the API server",
    "controlplane": "API server, scheduler and controllers in one process",
    "scheduler": "the scheduler",
    "controllers": "the controllers",
    "node": "one node's agent",
}


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print("usage: sampan COMMAND [--help]\n")
        for name, text in COMMANDS.items():
            print(f"  {name:<12} {text}")
        return 0 if words else 2
    if words[0] not in COMMANDS:
        print(f"sampan: no command {words[0]!r}; there are: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # its C core else mixes lines of its own form into our logs
    collector.rest()
    module = importlib.import_module(f"sampan.{words[0]}")
    collector.settle()
    return int(module.main(words[1:]))


if __name__ == "__main__":
    sys.exit(main())
