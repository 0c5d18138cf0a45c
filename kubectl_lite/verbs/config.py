"""config: kubeconfig files shown and changed."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.local import Local
from kubectl_lite.printing import output
from kubectl_lite.printing.tabs import align
from kubectl_lite.verb import Run, Verb

SECRETS = {
    "certificate-authority-data": "DATA+OMITTED",
    "client-certificate-data": "DATA+OMITTED",
    "client-key-data": "DATA+OMITTED",
    "token": "REDACTED",
    "password": "REDACTED",
}


def read_config(local: Local) -> dict[str, Any]:
    from kubectl_lite.printing import yaml_text

    file = local.config_file()
    if not file.is_file():
        raise Failed(f"there is no kubeconfig file {file}; set KUBECONFIG or give --kubeconfig")
    documents = yaml_text.load(file.read_text())
    return documents[0] if documents else {}


def _write(local: Local, config: dict[str, Any]) -> None:
    """Beside it, then in its place: a reader never sees half a file; readable by its owner only."""
    file = local.config_file()
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".kubeconfig-")
    with os.fdopen(handle, "w") as out:
        out.write(output.as_yaml(config))
    Path(name).replace(file)


def _named(config: dict[str, Any], plural: str, name: str) -> dict[str, Any] | None:
    return next((e for e in config.get(plural) or [] if e.get("name") == name), None)


async def _current(args: argparse.Namespace, local: Local) -> int:
    name = read_config(local).get("current-context")
    if not name:
        raise Failed("current-context is not set; choose one with `kubectl-lite config use-context NAME`")
    local.io.say(name)
    return 0


async def _contexts(args: argparse.Namespace, local: Local) -> int:
    config = read_config(local)
    entries = [e for e in config.get("contexts") or [] if not args.words or e["name"] in args.words]
    if args.words and len(entries) != len(set(args.words)):
        raise Failed(f"context {args.words} not found")
    if args.output == "name":
        for entry in entries:
            local.io.say(entry["name"])
        return 0
    lines = [] if args.no_headers else ["CURRENT\tNAME\tCLUSTER\tAUTHINFO\tNAMESPACE"]
    for entry in sorted(entries, key=lambda e: str(e["name"])):
        inner = entry.get("context") or {}
        mark = "*" if entry["name"] == config.get("current-context") else ""
        cells = [mark, entry["name"], inner.get("cluster", ""), inner.get("user", ""), inner.get("namespace", "")]
        lines.append("\t".join(cells))
    for line in align(lines, least=6, gap=3):
        local.io.say(line)
    return 0


def _names_of(plural: str) -> Run:
    async def run(args: argparse.Namespace, local: Local) -> int:
        local.io.say("NAME")
        for name in sorted(str(entry["name"]) for entry in read_config(local).get(plural) or []):
            local.io.say(name)
        return 0

    return run


def _delete(plural: str, one: str) -> Run:
    async def run(args: argparse.Namespace, local: Local) -> int:
        config, name = read_config(local), _one(args)
        if _named(config, plural, name) is None:
            raise Failed(f"cannot delete {one} {name}, not in {local.config_file()}")
        _write(local, config | {plural: [e for e in config[plural] if e["name"] != name]})
        if one == "context" and config.get("current-context") == name:
            local.io.warn(
                'this removed your active context, use "kubectl-lite config use-context" to select a different one'
            )
        local.io.say(f"deleted {one} {name} from {local.config_file()}")
        return 0

    return run


async def _rename(args: argparse.Namespace, local: Local) -> int:
    if len(args.words) != 2:
        raise UsageError("two names of a context are required: the present one, and the new one")
    config, (old, new) = read_config(local), args.words
    entry = _named(config, "contexts", old)
    if entry is None:
        raise Failed(f'cannot rename the context "{old}", it\'s not in {local.config_file()}')
    if _named(config, "contexts", new) is not None:
        raise Failed(f'cannot rename the context "{old}", the context "{new}" already exists in {local.config_file()}')
    entry["name"] = new
    current = config.get("current-context")
    _write(local, config | ({"current-context": new} if current == old else {}))
    local.io.say(f'Context "{old}" renamed to "{new}".')
    return 0


async def _use(args: argparse.Namespace, local: Local) -> int:
    config, name = read_config(local), _one(args)
    if _named(config, "contexts", name) is None:
        raise Failed(f'no context exists with the name: "{name}"; see `kubectl-lite config get-contexts`')
    _write(local, config | {"current-context": name})
    local.io.say(f'Switched to context "{name}".')
    return 0


async def _set_context(args: argparse.Namespace, local: Local) -> int:
    config = read_config(local)
    name = config.get("current-context", "") if args.current else _one(args)
    entry = _named(config, "contexts", name)
    given = {"cluster": args.cluster, "user": args.user, "namespace": args.namespace}
    changed = {k: v for k, v in given.items() if v}
    if entry is None:
        config.setdefault("contexts", []).append({"name": name, "context": changed})
    else:
        entry["context"] = (entry.get("context") or {}) | changed
    _write(local, config)
    local.io.say(f'Context "{name}" {"created" if entry is None else "modified"}.')
    return 0


async def _view(args: argparse.Namespace, local: Local) -> int:
    config = read_config(local)
    if args.minify:
        context = _named(config, "contexts", local.context or config.get("current-context", ""))
        if context is None:
            raise Failed("current-context must exist in order to minify")
        inner = context["context"]
        config = config | {
            "current-context": context["name"],
            "contexts": [context],
            "clusters": [e for e in config.get("clusters") or [] if e["name"] == inner.get("cluster")],
            "users": [e for e in config.get("users") or [] if e["name"] == inner.get("user")],
        }
    if not args.raw:
        config = _without_secrets(config)
    show = output.printer(
        args.output or ("" if getattr(args, "template", "") else "yaml"), given=getattr(args, "template", "")
    )
    if show is None:
        raise UsageError("config view takes -o json, yaml or jsonpath=...")
    local.io.out.write(show(config))
    return 0


def _without_secrets(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: SECRETS[k] if k in SECRETS and v else _without_secrets(v) for k, v in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list) else value


def _one(args: argparse.Namespace) -> str:
    if len(args.words) != 1:
        raise UsageError("exactly one NAME is required")
    return str(args.words[0])


def _contexts_flags(flags: Flags) -> None:
    flags.value("-o", "--output", help="name: only names", metavar="name")
    flags.switch("--no-headers", help="rows only")


def _set_flags(flags: Flags) -> None:
    flags.switch("--current", help="the current context")
    flags.value("--cluster", help="of the context", metavar="NAME")
    flags.value("--user", help="of the context", metavar="NAME")


def _view_flags(flags: Flags) -> None:
    flags.output()
    flags.switch("--raw", help="with keys and tokens")
    flags.switch("--minify", help="only what the current context needs")


def _nothing(flags: Flags) -> None:
    """Only the common flags."""


def _sub(name: str, help: str, usage: str, flags: Any, run: Run) -> Verb:
    return Verb(
        help, usage, f"kubectl-lite config {name} {usage}".replace(" [flags]", ""), flags, run, local=True, awaits=False
    )


VERB = Verb(
    help="Show and change kubeconfig files.",
    usage="COMMAND [flags]",
    examples="kubectl-lite config get-contexts\nkubectl-lite config set-context --current --namespace=test",
    sub={
        "get-contexts": _sub("get-contexts", "List the contexts.", "[NAME ...] [flags]", _contexts_flags, _contexts),
        "current-context": _sub("current-context", "Print the current context.", "", _nothing, _current),
        "use-context": _sub("use-context", "Make a context the current one.", "NAME", _nothing, _use),
        "set-context": _sub(
            "set-context", "Set a context's fields.", "(NAME | --current) [flags]", _set_flags, _set_context
        ),
        "rename-context": _sub("rename-context", "Give a context another name.", "NAME NEW_NAME", _nothing, _rename),
        "get-clusters": _sub("get-clusters", "List the clusters.", "", _nothing, _names_of("clusters")),
        "get-users": _sub("get-users", "List the users.", "", _nothing, _names_of("users")),
        "delete-context": _sub("delete-context", "Remove a context.", "NAME", _nothing, _delete("contexts", "context")),
        "delete-cluster": _sub("delete-cluster", "Remove a cluster.", "NAME", _nothing, _delete("clusters", "cluster")),
        "delete-user": _sub("delete-user", "Remove a user.", "NAME", _nothing, _delete("users", "user")),
        "view": _sub("view", "Print the configuration, secrets left out.", "[flags]", _view_flags, _view),
    },
)
