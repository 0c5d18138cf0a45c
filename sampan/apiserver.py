"""Composition of the API server: `sampan apiserver`. Reads flags and files, opens the store, runs until told to stop."""

import argparse
import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import uvloop

from controlplane.apiserver.auth.authn import StaticTokens
from controlplane.apiserver.auth.tokens import TokenKeys
from controlplane.apiserver.server import ApiServer, Tls, api_server
from controlplane.storage.open import open_store
from kubeapi.clock import SystemClock
from kubeapi.logs import WRITES_FROM
from sampan import logs

HELP = "run the API server"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="sampan apiserver", description=HELP)
    add_flags(parser)
    args = parser.parse_args(argv)
    logs.start(args)
    uvloop.run(_serve(args))
    return 0


def add_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--store",
        default="memory:",
        help="memory:, sqlite:PATH, or etcd://HOST:PORT[,HOST:PORT][?ca=FILE&cert=FILE&key=FILE]",
    )
    parser.add_argument("--bind", default="127.0.0.1", help="address that both doors listen on")
    parser.add_argument("--port", type=int, default=6443, help="of the HTTP door")
    parser.add_argument("--grpc-port", type=int, default=6444, help="of the gRPC door")
    parser.add_argument("--advertise", default="", help="address that nodes reach this server by")
    parser.add_argument("--pki", type=Path, required=True, help="directory with ca.crt, apiserver.crt, apiserver.key")
    parser.add_argument("--service-cidr", default="10.96.0.0/16")
    parser.add_argument("--token-file", type=Path, help='lines of token,user,uid,"group,group"')
    parser.add_argument(
        "--token-key", type=Path, help="signs service account tokens; default: sa.key in --pki, if there"
    )
    logs.add_flags(parser)


def store_url(text: str) -> str:
    """`sqlite:PATH` may name a relative path; the store's own form is absolute."""
    if text.startswith("sqlite:") and not text.startswith("sqlite:///"):
        return f"sqlite://{Path(text.removeprefix('sqlite:')).absolute()}"
    return text


async def _serve(args: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(args):
        await stop.wait()


@asynccontextmanager
async def serving(args: argparse.Namespace) -> AsyncIterator[ApiServer]:
    """The server that the flags ask for, with its store, for as long as the block lasts."""
    tls = Tls(args.pki / "apiserver.crt", args.pki / "apiserver.key", args.pki / "ca.crt")
    signing = args.token_key or args.pki / "sa.key"
    token_key = await asyncio.to_thread(signing.read_bytes) if args.token_key or signing.exists() else None
    text = await asyncio.to_thread(args.token_file.read_text) if args.token_file else ""
    store = await asyncio.to_thread(open_store, store_url(args.store))
    try:
        async with api_server(
            store=store,
            clock=SystemClock(),
            rng=Random(),
            tls=tls,
            host=args.bind,
            port=args.port,
            grpc_port=args.grpc_port,
            advertise=args.advertise,
            service_cidr=args.service_cidr,
            token_keys=TokenKeys(token_key),
            tokens=[StaticTokens.parse(text.splitlines())],
            log_writes=args.verbosity >= WRITES_FROM,
        ) as server:
            logging.getLogger("sampan").info("serving HTTPS on %s, gRPC on %s", server.port, server.grpc_port)
            yield server
    finally:
        await store.close()
