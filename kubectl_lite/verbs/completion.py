"""completion: a script for the shell, that asks `kubectl-lite __complete` at every tab; and __complete itself.

Verbs, subcommands and flags come from the program, types from its table, names from the server. A server that does not answer
means no names, never an error in the middle of somebody's command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable, Sequence

from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.local import Local
from kubectl_lite.verb import Verb, no_flags

PATIENCE = 2.0
"""Seconds to wait for names."""
POD_VERBS = {"logs", "exec", "attach", "port-forward", "explain-pending"}
NODE_VERBS = {"cordon", "uncordon", "drain"}
TYPE_VERBS = {"get", "describe", "delete", "edit", "label", "annotate", "patch", "scale", "expose", "wait", "autoscale"}
NamesOf = Callable[[str, str], Awaitable[Sequence[str]]]
"""(type, namespace) to the names of such objects."""

SCRIPTS = {
    "bash": """\
_kubectl_lite() {
    local IFS=$'\\n'
    COMP_WORDBREAKS=${COMP_WORDBREAKS//:/}
    COMPREPLY=($(kubectl-lite __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _kubectl_lite kubectl-lite
""",
    "zsh": """\
#compdef kubectl-lite
_kubectl_lite() {
    local -a found
    found=("${(@f)$(kubectl-lite __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "${found[*]}" ]]; then compadd -a found; else _files; fi
}
compdef _kubectl_lite kubectl-lite
""",
    "fish": """\
function __kubectl_lite_complete
    set -l before (commandline -opc)
    set -l found (kubectl-lite __complete -- $before[2..-1] (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c kubectl-lite -f -a '(__kubectl_lite_complete)'
""",
}


async def candidates(words: Sequence[str], names_of: NamesOf) -> list[str]:
    """What the last word may become; it is empty when the person has just typed a space."""
    from kubectl_lite.running import subcommand
    from kubectl_lite.table import VERBS, load

    # bash makes three words of `--flag=value`, and wants only the value; zsh and fish make one.
    *before, last = [word for word in words[:-1] if word != "="] + [words[-1].removeprefix("=")] if words else [""]
    flag, eq, value = last.partition("=")
    if eq and flag.startswith("--"):
        found = await _values(flag, value, before, names_of)
        return [f"{flag}={one}" for one in found or []]
    if before and before[-1].startswith("-"):
        values = await _values(before[-1], last, before[:-1], names_of)
        if values is not None:
            return values
    namespace, plain = _plain(before)
    if not plain:
        return _starting(list(VERBS), last)
    name, *rest = plain
    if name not in VERBS:
        return []
    verb = load(name)
    if verb.sub and not rest and not last.startswith("-"):
        return _starting(list(verb.sub), last)
    chosen, prog, _ = subcommand(verb, name, rest)
    if chosen is None:
        return []
    if last.startswith("-"):
        options = {o for a in _actions(prog, chosen) for o in a.option_strings if o.startswith("--")}
        return _starting(sorted(options), last)
    if verb.sub:
        rest = rest[1:]
    if name == "completion":
        return _starting(list(SCRIPTS), last)
    if name == "config":
        return [] if rest else _starting(await names_of("contexts", ""), last)
    if name in POD_VERBS and not rest and "/" not in last:
        return _starting(await names_of("pods", namespace), last)
    if name in NODE_VERBS:
        return _starting(await names_of("nodes", ""), last)
    if name == "top" and chosen.sub is not verb.sub:
        return _starting(await names_of(plain[1], namespace), last)
    if name in TYPE_VERBS | POD_VERBS | {"rollout", "set", "explain"}:
        if "/" in last:
            kind = last.partition("/")[0]
            return _starting([f"{kind}/{one}" for one in await names_of(kind, namespace)], last)
        if not rest:
            return _starting(_types(), last)
        return _starting(await names_of(rest[0], namespace), last) if name != "explain" else []
    return []


async def _values(flag: str, start: str, before: Sequence[str], names_of: NamesOf) -> list[str] | None:
    """What may follow the flag. None: it takes no value; nothing, if any value will do, as a file."""
    from kubectl_lite.running import subcommand
    from kubectl_lite.table import VERBS, load

    if flag in ("-n", "--namespace"):
        return _starting(await names_of("namespaces", ""), start)
    if flag == "--context":
        return _starting(await names_of("contexts", ""), start)
    _, plain = _plain(before)
    if not plain or plain[0] not in VERBS:
        return None
    chosen, prog, _ = subcommand(load(plain[0]), plain[0], plain[1:])
    action = next((a for a in _actions(prog, chosen) if flag in a.option_strings), None) if chosen else None
    if action is None or action.nargs == 0 or action.metavar == "BOOL":
        return None
    if flag in ("-o", "--output") and action.choices is None:
        wide = ["wide"] if plain[0] == "get" else []
        return _starting(["custom-columns=", "go-template=", "json", "jsonpath=", "name", *wide, "yaml"], start)
    return _starting([str(choice) for choice in action.choices or () if choice != "unchanged"], start)


def _actions(prog: str, verb: Verb) -> Sequence[argparse.Action]:
    from kubectl_lite.running import build_flags

    return build_flags(prog, verb).parser._actions


def _types() -> list[str]:
    from kubeapi.scheme import SCHEME

    return sorted({r.plural for r in SCHEME.resources if r.plural})


def _starting(words: Sequence[str], start: str) -> list[str]:
    return [word for word in words if word.startswith(start)]


def _plain(words: Sequence[str]) -> tuple[str, list[str]]:
    """The namespace named on the line, and the words that are no flags."""
    from kubectl_lite.flags import VALUED

    namespace, plain, waiting = "", [], ""
    for word in words:
        if waiting:
            namespace = word if waiting in ("-n", "--namespace") else namespace
            waiting = ""
        elif word in VALUED | {"-o", "-l", "-f", "-c"}:
            waiting = word
        elif word.startswith("--namespace="):
            namespace = word.partition("=")[2]
        elif not word.startswith("-"):
            plain.append(word)
    return namespace, plain


async def complete(args: argparse.Namespace, local: Local) -> int:
    from kubeapi.errors import ApiError
    from kubectl_lite.connect import configured, connect
    from kubectl_lite.names import Names

    async def names_of(kind: str, namespace: str) -> list[str]:
        if kind == "contexts":
            return contexts(local)
        try:
            config = configured(local.kubeconfig or local.environ.get("KUBECONFIG", ""), context=local.context)
            async with connect(config, timeout=PATIENCE, warn=lambda text: None) as server:
                resource = await Names(server.discovery).find(kind)
                where = (namespace or config.namespace) if resource.namespaced else ""
                objects, _ = await server.list(resource, where)
        except (Failed, UsageError, ApiError):
            return []
        return [obj["metadata"]["name"] for obj in objects]

    for word in await candidates(args.rest or [""], names_of):
        local.io.say(word)
    return 0


def contexts(local: Local) -> list[str]:
    from kubectl_lite.verbs.config import read_config

    try:
        return [str(entry["name"]) for entry in read_config(local).get("contexts") or []]
    except (Failed, OSError):
        return []


async def script(args: argparse.Namespace, local: Local) -> int:
    if len(args.words) != 1 or args.words[0] not in SCRIPTS:
        raise UsageError(f"name one shell: {', '.join(SCRIPTS)}")
    local.io.out.write(SCRIPTS[args.words[0]])
    return 0


VERBS = {
    "completion": Verb(
        "Print a script that completes words at the tab key.",
        "(bash | zsh | fish)",
        "source <(kubectl-lite completion bash)\nkubectl-lite completion fish > ~/.config/fish/completions/kubectl-lite.fish",
        no_flags,
        script,
        local=True,
        awaits=False,
    ),
    "__complete": Verb("Complete the last word.", "-- WORD ...", "", no_flags, complete, local=True),
}
