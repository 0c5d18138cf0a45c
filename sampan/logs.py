"""The flags for logs, the same for every component."""

import argparse
import os

from kubeapi.logs import DEBUG_FROM, FORMATS, WRITES_FROM, setup

VARIABLE = "SAMPAN_LOG_FORMAT"
"""So that a whole cluster, whose processes inherit it, logs in one form."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("logs")
    wanted = os.environ.get(VARIABLE, "text")
    group.add_argument(
        "--log-format", choices=FORMATS, default=wanted if wanted in FORMATS else "text",
        help=f"text, or one JSON object a line (default: ${VARIABLE}, else text)",
    )  # fmt: skip
    group.add_argument(
        "-v", "--v", type=int, default=0, metavar="LEVEL", dest="verbosity",
        help=f"{WRITES_FROM}: the API server tells every write; {DEBUG_FROM}: everything",
    )  # fmt: skip


def start(args: argparse.Namespace, *, node: str = "") -> None:
    setup(args.log_format, verbosity=args.verbosity, node=node)
