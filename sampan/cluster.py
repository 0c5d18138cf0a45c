"""`sampan cluster up|down|check`: the cluster of docker-compose.yml, from a checkout. See cluster_compose."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sampan.cluster_compose import PROJECT, ComposeCluster, has_two
from sampan.demo import KUBECTL_LITE
from sampan.demo_checks import CheckError, Checklist, Checks

HELP = "start, check and end the cluster of docker-compose.yml"
ROOT = Path(__file__).parent.parent


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan cluster", description=HELP)
    parser.add_argument("what", choices=["up", "down", "check"])
    parser.add_argument("--ha", action="store_true", help="three etcd members, two of each other part")
    parser.add_argument("--client", default="", help="command that the checks use (default: kubectl-lite)")
    parser.add_argument("--state", type=Path, default=ROOT / "build" / "cluster", help="credentials are kept here")
    parser.add_argument("--project", default=PROJECT, help="of docker compose (default: $SAMPAN_PROJECT, else sampan)")
    parser.add_argument("--monitoring", action="store_true", help="with Prometheus, also beside a cluster that runs")
    args = parser.parse_args(argv)
    cluster = ComposeCluster(
        root=ROOT,
        ha=args.ha or (args.what == "up" and has_two(args.project)),
        state=args.state.absolute(),
        project=args.project,
        monitoring=args.monitoring,
    )
    try:
        if args.what == "check":
            return check(cluster, shlex.split(args.client) or KUBECTL_LITE)
        print(cluster.up() if args.what == "up" else cluster.down())
    except (CheckError, OSError, subprocess.SubprocessError) as error:
        print(f"sampan cluster {args.what}: {error}", file=sys.stderr)
        return 1
    if args.what == "up":
        print(f"export KUBECONFIG={cluster.kubeconfig}")
        if args.monitoring:
            print(
                f"Prometheus: http://127.0.0.1:{os.environ.get('SAMPAN_PROMETHEUS_PORT', '9090')}/targets and /alerts"
            )
    return 0


def check(cluster: ComposeCluster, client: Sequence[str]) -> int:
    """The promises of the demo; what the checks made is taken away again."""
    manifests = ROOT / "manifests" / "demo"
    checks = Checks(ground=cluster, client=client, kubeconfig=cluster.kubeconfig, manifests=manifests)
    done = Checklist()
    for title, one in checks.all():
        done.check(title, one)
    done.check("what was made goes away", checks.clean)
    return done.verdict()


if __name__ == "__main__":
    sys.exit(main())
