"""One API server over TLS, and both clients asked the same: a real kubectl as a process, kubectl-lite as its whole program.

The objects of kubectl_lite_objects.yaml are there twice, in namespaces `one` and `two`: kubectl works in the first, kubectl-lite
in the second, so that both change the same things in the same state. What they print is compared with ages and the namespace's
name taken out.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import yaml

from controlplane.apiserver.server import Tls, api_server
from controlplane.storage.embedded import EmbeddedStore
from kubeapi import pki
from kubeapi.clock import SystemClock
from kubeapi.scheme import SCHEME
from kubectl_lite.__main__ import find_verb, main
from kubectl_lite.connect import configured, connect
from kubectl_lite.running import prepare
from kubectl_lite.server import Server
from kubectl_lite.streams import Streams
from kubectl_lite.table import VERBS, load
from tests.component.kubectl_lite_world import Told

OBJECTS = Path(__file__).with_name("kubectl_lite_objects.yaml")
SPACES = {"one": "10.96.0.101", "two": "10.96.0.102"}
"""The namespaces, and the address of the service in each."""
_AGE = re.compile(r"(?<![\w.:/-])\d+[smhdy](\d+[smhd])?(?![\w/-])")
_TIME = re.compile(r"2\d{3}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Said:
    code: int
    out: str
    err: str

    def plain(self) -> Said:
        return Said(self.code, plain(self.out), plain(self.err))


def plain(text: str) -> str:
    """Without what differs between two moments, two namespaces, and the two programs' names; nor blanks at ends of lines."""
    text = re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)
    text = _AGE.sub("<age>", text).replace("kubectl-lite", "kubectl")
    text = _TIME.sub("<time>", _UID.sub("<uid>", text))
    text = re.sub(r"\b(one|two)\b", "<ns>", text)
    return text.replace(SPACES["one"], "<ip>").replace(SPACES["two"], "<ip>")


@dataclass(frozen=True, slots=True)
class Beside:
    kubeconfig: Path
    here: Path
    kubectl_path: Path
    server: Server

    async def kubectl(self, words: Sequence[str], stdin: bytes = b"", *, space: str = "one") -> Said:
        process = await asyncio.create_subprocess_exec(
            str(self.kubectl_path),
            *_placed(words, space),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=self.here,
            env=self.environ,
        )
        out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Said(process.returncode, out.decode(), err.decode())

    async def lite(self, words: Sequence[str], stdin: bytes = b"", *, space: str = "two") -> Said:
        """All that the program does, but in this event loop: two of them in one process confuse gRPC."""
        out, err = io.TextIOWrapper(io.BytesIO(), write_through=True, encoding="utf-8"), io.StringIO()
        streams = Streams(out=out, err=err, stdin=io.BytesIO(stdin))
        code = await _program(_placed(words, space), streams, self.environ)
        return Said(code, out.buffer.getvalue().decode(), err.getvalue())  # type: ignore[attr-defined]

    @asynccontextmanager
    async def going_on(self, words: Sequence[str]) -> AsyncIterator[tuple[Told, Told]]:
        """The same command in both, which does not end by itself; what they have said so far."""
        theirs, ours = Told(), Told()
        process = await asyncio.create_subprocess_exec(
            str(self.kubectl_path), *words, stdout=asyncio.subprocess.PIPE, env=self.environ
        )

        async def read() -> None:
            assert process.stdout is not None
            while data := await process.stdout.read(4096):
                theirs.write(data.decode())

        streams = Streams(out=ours, err=io.StringIO(), stdin=io.BytesIO())
        tasks = [asyncio.create_task(read()), asyncio.create_task(_program(list(words), streams, self.environ))]
        try:
            yield theirs, ours
        finally:
            process.kill()
            await process.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def environ(self) -> dict[str, str]:
        return {"KUBECONFIG": str(self.kubeconfig), "HOME": str(self.here), "PATH": "/usr/bin:/bin"}

    async def fill(self, space: str) -> None:
        text = OBJECTS.read_text().replace("{ns}", space).replace("{ip}", SPACES[space])
        await self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}})
        for obj in yaml.safe_load_all(text):
            if "namespace" in obj["metadata"] or space == "one":
                await self.put(obj)

    async def put(self, obj: dict[str, Any]) -> None:
        resource = SCHEME.by_kind(obj["apiVersion"], obj["kind"])
        assert resource is not None
        namespace = obj["metadata"].get("namespace", "")
        if obj["kind"] == "Event":
            about = SCHEME.by_kind("v1", "Pod")
            assert about is not None
            pod = await self.server.get(about, obj["involvedObject"]["name"], namespace)
            obj["involvedObject"]["uid"] = pod["metadata"]["uid"]
        made = await self.server.create(resource, obj, namespace)
        if resource.status and "status" in obj:
            status = (made.get("status") or {}) | obj["status"]
            await self.server.update(resource, made | {"status": status}, namespace, subresource="status")


async def _program(words: list[str], io: Streams, environ: dict[str, str]) -> int:
    name, rest = find_verb(words)
    if name not in VERBS:
        return main(words, io, environ)
    try:
        work, _ = prepare(name, load(name), rest, io, environ)
        return await work
    except SystemExit as leaving:
        return int(leaving.code or 0)


def _placed(words: Sequence[str], space: str) -> list[str]:
    """Into the namespace, unless the words name one, or all."""
    named = any(w in ("-A", "-n", "--all-namespaces") or w.startswith("--namespace") for w in words)
    flag = [] if named else ["-n", space]
    at = list(words).index("--") if "--" in words else len(words)
    return [*words[:at], *flag, *words[at:]]


@asynccontextmanager
async def beside(folder: Path, kubectl: Path) -> AsyncIterator[Beside]:
    now = datetime.now(UTC)
    ca = pki.Authority.open(folder, now=now)
    ca.peer("apiserver", ["system:masters"], ["127.0.0.1"], now=now).save(folder, "apiserver")
    admin = ca.client("admin", ["system:masters"], now=now)
    tls = Tls(folder / "apiserver.crt", folder / "apiserver.key", folder / "ca.crt")
    store = EmbeddedStore()
    try:
        async with api_server(store=store, clock=SystemClock(), rng=Random(1), tls=tls) as server:
            file = folder / "kubeconfig"
            file.write_text(
                pki.kubeconfig(
                    server=f"https://127.0.0.1:{server.port}",
                    ca=ca.cert,
                    client=admin,
                    grpc=f"127.0.0.1:{server.grpc_port}",
                )
            )
            config = configured(str(file), context="")
            async with connect(config, timeout=10.0, warn=lambda text: None) as near:
                made = Beside(file, folder, kubectl, near)
                for space in SPACES:
                    await made.fill(space)
                yield made
    finally:
        await store.close()
