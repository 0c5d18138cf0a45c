"""One verb from its words to its exit code: subcommand, flags, connection, and errors as text."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import VALUED, Flags
from kubectl_lite.local import Local
from kubectl_lite.streams import Streams
from kubectl_lite.verb import Verb

if TYPE_CHECKING:
    from kubeapi.client.kubeconfig import Kubeconfig

FAILED = {"diff": 2}
"""Verbs whose exit code 1 means something else."""
Work = Coroutine[Any, Any, int]


def run_verb(name: str, verb: Verb, words: list[str], io: Streams, environ: dict[str, str]) -> int:
    work, awaits = prepare(name, verb, words, io, environ)
    if awaits:
        import asyncio

        return asyncio.run(work)
    try:
        work.send(None)
    except StopIteration as end:
        return int(end.value)
    raise AssertionError("a verb that waits must not say that it does not")


def prepare(name: str, verb: Verb, words: list[str], io: Streams, environ: dict[str, str]) -> tuple[Work, bool]:
    """What is left to do, down to the exit code, and whether that takes an event loop. It raises nothing but BrokenPipeError.

    SystemExit after --help.
    """
    failed = FAILED.get(name, 1)
    try:
        chosen, prog, rest = subcommand(verb, f"kubectl-lite {name}", words)
        if chosen is None:
            io.out.write(list_subcommands(prog, verb))
            return _code(0 if not words or words[0] in ("-h", "--help") else 1), False
        args = build_flags(prog, chosen).parse(rest)
    except UsageError as error:
        io.fail(str(error))
        return _code(failed), False
    if chosen.is_local(args):
        local = Local(io=io, environ=environ, kubeconfig=args.kubeconfig, context=args.context)
        return told(chosen.run(args, local), io, failed), chosen.awaits
    return told(_remote(args, chosen, io, environ, failed), io, failed), True


async def _code(code: int) -> int:
    return code


async def told(work: Work, io: Streams, failed: int) -> int:
    """Its exit code; what goes wrong is told, and a person who named a wrong file sees no traceback."""
    try:
        return await work
    except (UsageError, Failed) as error:
        if isinstance(error, Failed):
            io.out.write(error.written)
        io.fail(str(error))
        return error.code if isinstance(error, Failed) and error.code != 1 else failed
    except BrokenPipeError:
        raise
    except UnicodeDecodeError as error:
        io.fail(f"a file that was named is no text: {error}")
        return failed
    except (OSError, TimeoutError, RuntimeError) as error:
        io.fail(str(error) or "timed out")
        return failed


def build_flags(prog: str, verb: Verb) -> Flags:
    flags = Flags(prog, verb.usage, verb.help, verb.examples)
    verb.flags(flags)
    flags.common()
    return flags


def subcommand(verb: Verb, prog: str, words: list[str]) -> tuple[Verb | None, str, list[str]]:
    """Down to the verb that runs. None where a subcommand is missing. Raises UsageError for an unknown one."""
    while verb.sub:
        plain = _plain_words(words)
        at = next((i for i in plain[:1] if words[i] in verb.sub), None)
        if at is None and verb.bare:
            return verb, prog, words
        if at is None:
            if plain and not {"-h", "--help"} & set(words):
                raise UsageError(f'unknown command "{words[plain[0]]}" for "{prog}": use {", ".join(verb.sub)}')
            return None, prog, words
        prog = f"{prog} {words[at]}"
        verb, words = verb.sub[words[at]], words[:at] + words[at + 1 :]
    return verb, prog, words


def _plain_words(words: list[str]) -> list[int]:
    """Where words stand that are no flags, nor what belongs to one."""
    end = words.index("--") if "--" in words else len(words)
    return [
        i
        for i, word in enumerate(words[:end])
        if not word.startswith("-") and (i == 0 or words[i - 1] not in VALUED | {"-f", "--filename", "-o", "-l"})
    ]


def list_subcommands(prog: str, verb: Verb) -> str:
    lines = [verb.help, "", "Examples:", *(f"  {line}" for line in verb.examples.strip().splitlines()), ""]
    lines += ["Commands:", *(f"  {name:<18} {sub.help}" for name, sub in verb.sub.items()), ""]
    return "\n".join([*lines, f"Use '{prog} COMMAND --help' for more.", ""])


async def _remote(args: argparse.Namespace, verb: Verb, io: Streams, environ: dict[str, str], failed: int) -> int:
    import os

    from kubeapi.clock import SystemClock
    from kubeapi.request_id import fresh
    from kubectl_lite.connect import configured, connect
    from kubectl_lite.durations import parse_duration
    from kubectl_lite.names import Names
    from kubectl_lite.session import Session

    config = configured(args.kubeconfig or environ.get("KUBECONFIG", ""), context=args.context)
    timeout = parse_duration(args.request_timeout) or None
    given = fresh(int.from_bytes(os.urandom(16)))
    other = impersonation(args, config)
    async with connect(config, timeout=timeout, warn=io.warn, request_id=given, impersonate=other) as server:
        session = Session(
            server=server,
            names=Names(server.discovery),
            namespace=args.namespace or config.namespace,
            io=io,
            clock=SystemClock(),
            all_namespaces=getattr(args, "all_namespaces", False),
            explicit_namespace=bool(args.namespace),
            environ=environ,
            here=Path(),
            address=config.grpc,
            raw=_raw(config, timeout, other),
        )
        return await run_in(verb, args, session, failed)


def impersonation(args: argparse.Namespace, config: Kubeconfig) -> tuple[tuple[str, str], ...]:
    """The headers of --as and what goes with it; each flag goes before what the kubeconfig says. Raises UsageError."""
    user = args.as_user or config.as_user
    wished = [("impersonate-user", user), ("impersonate-uid", args.as_uid or config.as_uid)]
    wished += [("impersonate-group", group) for group in args.as_groups or config.as_groups]
    wished += [("impersonate-extra", f"{key.lower()}={value}") for key, value in config.as_extra]
    found = tuple((name, value) for name, value in wished if value)
    if found and not user:
        raise UsageError("--as-group and --as-uid go with --as: requesting them without impersonating a user")
    for name, value in found:
        if not value.isascii() or not value.isprintable():
            flag = name.replace("impersonate-", "--as-").removesuffix("-user")
            raise UsageError(f"{flag}: {value!r} has letters beyond ASCII")
    return found


def _raw(config: Any, timeout: float | None, headers: tuple[tuple[str, str], ...]) -> Callable[[str], bytes]:
    def get(path: str) -> bytes:
        from kubectl_lite import raw

        return raw.get(config, path, timeout=timeout, headers=headers)

    return get


async def run_in(verb: Verb, args: argparse.Namespace, session: Any, failed: int = 1) -> int:
    """The verb, with the server's errors told as kubectl tells them."""
    from kubeapi.errors import ApiError

    try:
        code = await verb.run(args, session)
    except ApiError as error:
        session.io.err.write(explain(error, session.address))
        code = failed
    if code and args.verbosity > 0:
        session.io.err.write(f"Request ID: {session.server.request_id}\n")
    return code


def explain(error: Any, address: str, *, when: str = "", source: str = "") -> str:
    """`Error from server (NotFound): pods "x" not found`, and where a person can do something, what.

    `when` a manifest of `source` was worked on: "creating".
    """
    doing = f'error when {when} "{source}": ' if source else ""
    if error.reason == "ServiceUnavailable" and ("connect" in str(error) or "Socket" in str(error)):
        return (
            f"The connection to the server {address} was refused - did you specify the right host or port?\n"
            f"({error})\n`sampan status` tells whether the cluster runs; `sampan up` starts it.\n"
        )
    if error.reason == "Invalid" and len(error.causes) > 1:
        head = str(error).partition(" is invalid: ")[0]
        return f"The {_name(error, head)} is invalid: \n" + "".join(f"* {cause}\n" for cause in error.causes)
    if error.reason == "Invalid" and error.details.get("kind"):
        return f"The {error!s}\n"
    if error.reason == "Unauthorized":
        return (
            "error: You must be logged in to the server (Unauthorized)\n"
            "The kubeconfig's certificate or token is not accepted: has the cluster been made anew since?\n"
        )
    hint = ""
    if error.reason == "Conflict":
        hint = "Somebody else has changed the object meanwhile: get it again and repeat the change.\n"
    elif error.reason == "Forbidden" and "cannot" in str(error):
        hint = "`kubectl-lite auth can-i --list` tells what you may do.\n"
    return f"Error from server ({error.reason}): {doing}{error}\n{hint}"


def _name(error: Any, head: str) -> str:
    return head or f'{error.details.get("kind", "object")} "{error.details.get("name", "")}"'
