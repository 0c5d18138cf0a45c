"""kubectl-lite: one file a verb below `verbs/`, imported only when it is asked for.

Finds the cluster in the kubeconfig (--kubeconfig, $KUBECONFIG, ~/.kube/config), talks gRPC to it, and turns every
error into one line that says what to do. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from kubeapi.errors import ApiError
from kubectl_lite.connect import connect
from kubectl_lite.names import UsageError
from kubectl_lite.session import Session
from kubectl_lite.streams import Streams, terminal

VERBS = ("apply", "create", "get", "describe", "delete", "logs", "exec", "scale", "rollout", "wait", "api-resources")


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    io = terminal(environ_no_color="NO_COLOR" in os.environ)
    args, module = parse(words)
    try:
        return asyncio.run(run(args, module, io))
    except UsageError as error:
        io.fail(str(error))
        return 2
    except ApiError as error:
        io.fail(f"({error.reason}) {error}")
        return 1
    except (OSError, TimeoutError) as error:
        io.fail(str(error) or "timed out")
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0


def parse(words: list[str]) -> tuple[argparse.Namespace, ModuleType]:
    verb = next((word for word in words if word in VERBS), "")
    parser = argparse.ArgumentParser(prog="kubectl-lite", description="Talk to a Sampan cluster.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    chosen: ModuleType | None = None
    for name in VERBS:
        if verb and name != verb:
            continue
        module = importlib.import_module(f"kubectl_lite.verbs.{name.replace('-', '_')}")
        sub = verbs.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(sub)
        _add_common(sub)
        chosen = module
    args = parser.parse_args(words)
    assert chosen is not None
    return args, chosen


def _add_common(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("cluster")
    common.add_argument("-n", "--namespace", default="", help="default: the kubeconfig context's, else default")
    common.add_argument("-A", "--all-namespaces", action="store_true")
    common.add_argument("--kubeconfig", default="")
    common.add_argument("--context", default="")
    common.add_argument("--request-timeout", type=float, default=30.0, metavar="SECONDS", help="to reach the server")


async def run(args: argparse.Namespace, module: ModuleType, io: Streams) -> int:
    async with connect(
        args.kubeconfig or os.environ.get("KUBECONFIG", ""),
        context=args.context,
        timeout=args.request_timeout,
        warn=io.warn,
    ) as (server, namespace):
        session = Session(
            server=server, namespace=args.namespace or namespace, io=io, all_namespaces=args.all_namespaces
        )
        status: int = await module.run(args, session)
        return status


if __name__ == "__main__":
    sys.exit(main())
