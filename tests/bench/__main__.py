"""All measurements, one after the other: `make bench`, or `python -m tests.bench [start api watch scheduler containers kubectl_lite]`.

Each is a process of its own, so that none inherits the memory of another. One that fails is told, and the rest still runs.
"""

import subprocess
import sys

ALL = ("start", "api", "watch", "scheduler", "containers", "kubectl_lite")


def main() -> int:
    failed = [
        name
        for name in sys.argv[1:] or ALL
        if subprocess.run([sys.executable, "-m", f"tests.bench.{name}"], check=False).returncode
    ]
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
