"""Command lines read as kubectl reads them: `-oyaml`, `--flag`, `--flag=false`, flags between the words.

argparse does the work. What it lacks: a switch that also takes `=true|false`, and everything behind `--` kept apart
(`args.rest`). Errors are one line with what to do next, and exit code 1.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from kubectl_lite.errors import UsageError

_TRUE, _FALSE = {"true", "1", "t"}, {"false", "0", "f"}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        message = message.replace("unrecognized arguments: -", "unknown flag: -")
        raise UsageError(f"{message}\nSee '{self.prog} --help' for usage.")


class Flags:
    def __init__(self, prog: str, usage: str, description: str, examples: str) -> None:
        epilog = "Examples:\n" + "\n".join(f"  {line}".rstrip() for line in examples.strip().splitlines())
        self.parser = _Parser(
            prog=prog,
            usage=f"{prog} {usage}".rstrip(),
            description=description,
            epilog=f"{epilog}\n\nUse 'kubectl-lite options' for the flags that every verb takes.",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
        self._switches: set[str] = set()

    def value(self, *names: str, default: str = "", help: str, metavar: str = "") -> None:
        self.parser.add_argument(*names, default=default, help=help, metavar=metavar or "TEXT")

    def number(self, *names: str, default: int | None = None, help: str, metavar: str = "N") -> None:
        self.parser.add_argument(*names, type=int, default=default, help=help, metavar=metavar)

    def many(self, *names: str, help: str, metavar: str = "TEXT", dest: str = "") -> None:
        extra: dict[str, Any] = {"dest": dest} if dest else {}
        self.parser.add_argument(*names, action="append", default=[], help=help, metavar=metavar, **extra)

    def switch(self, *names: str, default: bool = False, help: str) -> None:
        """`--all`, `--all=false`, and with a short name `-A`."""
        long = next(name for name in names if name.startswith("--"))
        dest = long[2:].replace("-", "_")
        self._switches.add(long)
        extra = f" (default: {str(default).lower()})" if default else ""
        self.parser.add_argument(long, dest=dest, type=_boolean, default=default, help=help + extra, metavar="BOOL")
        for short in names:
            if short != long:
                self.parser.add_argument(short, dest=dest, action="store_true", help=argparse.SUPPRESS)

    def choice(self, *names: str, choices: Sequence[str], default: str = "", help: str) -> None:
        self.parser.add_argument(*names, choices=choices, default=default, help=f"{help}: {', '.join(choices)}")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Raises UsageError; SystemExit(0) after --help."""
        words, rest = list(argv), None
        if "--" in words:
            at = words.index("--")
            words, rest = words[:at], words[at + 1 :]
        plain = [f"{word}=true" if word in self._switches else word for word in words]
        args = self.parser.parse_intermixed_args(plain)
        args.rest = rest
        return args

    # ------------------------------------------------------------------ flags that many verbs share

    def common(self) -> None:
        group = self.parser.add_argument_group("cluster")
        add_common(group)

    def output(self, *, wide: bool = False) -> None:
        kinds = "json, yaml, name, jsonpath=..., jsonpath-file=..., go-template=..., go-template-file=..., custom-columns=..."
        self.value("-o", "--output", help=f"form of the output: {kinds}{', wide' if wide else ''}", metavar="FORM")
        self.value("--template", help="of -o go-template or go-template-file, which it implies", metavar="TEMPLATE")
        self.switch("--show-managed-fields", help="keep metadata.managedFields in json and yaml")

    def dry_run(self) -> None:
        self.parser.add_argument(
            "--dry-run",
            nargs="?",
            const="unchanged",
            default="none",
            choices=["none", "client", "server", "unchanged"],
            metavar="none|client|server",
            help="client: only print what would be sent; server: ask the server, keep nothing",
        )

    def files(self, *, required: bool = False) -> None:
        self.many("-f", "--filename", help="file, folder, URL or - (repeatable)", metavar="FILE")
        self.switch("-R", "--recursive", help="folders with all that is below them")
        self.value("-k", "--kustomize", help=argparse.SUPPRESS)

    def selector(self, *, everything: bool = True) -> None:
        self.value("-l", "--selector", help="label selector: app=web,tier!=db,env in (a,b)", metavar="LABELS")
        self.value("--field-selector", help="field selector: status.phase=Running", metavar="FIELDS")
        if everything:
            self.switch("--all", help="all objects of the type in the namespace")

    def everywhere(self) -> None:
        self.switch("-A", "--all-namespaces", help="in all namespaces")

    def validation(self) -> None:
        self.parser.add_argument(
            "--validate", default="strict", metavar="strict|warn|ignore", help="what becomes of unknown fields"
        )


def add_common(group: Any) -> None:
    group.add_argument("-n", "--namespace", default="", help="default: the context's", metavar="NAME")
    group.add_argument("--kubeconfig", default="", help="default: $KUBECONFIG, else ~/.kube/config", metavar="FILE")
    group.add_argument("--context", default="", help="of the kubeconfig; default: its current one", metavar="NAME")
    group.add_argument(
        "--as", default="", dest="as_user", help="ask as this user, if you may impersonate it", metavar="USER"
    )
    group.add_argument(
        "--as-group", action="append", default=[], dest="as_groups", metavar="GROUP",
        help="with --as: ask as a member of this group (repeatable)",
    )  # fmt: skip
    group.add_argument("--as-uid", default="", dest="as_uid", help="with --as: ask under this UID", metavar="UID")
    group.add_argument("--request-timeout", default="30s", help="of one call; 0 is none", metavar="TIME")
    group.add_argument(
        "-v", "--v", type=int, default=0, dest="verbosity", metavar="LEVEL",
        help="from 1 on an error tells the request's id, which the logs of server and nodes have too",
    )  # fmt: skip


VALUED = {
    "-n", "--namespace", "--kubeconfig", "--context", "--request-timeout", "-v", "--v", "--as", "--as-group", "--as-uid",
}  # fmt: skip
"""Common flags that take a value: they may stand before the verb."""


def _boolean(text: str) -> bool:
    if text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
