"""cp: files to and from a container, as a tar stream through exec. The container needs a `tar`.

What comes from a container is not trusted: see unpacking.py.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from kubeapi.errors import ApiError
from kubectl_lite.errors import Failed, UsageError
from kubectl_lite.flags import Flags
from kubectl_lite.remote import container_of
from kubectl_lite.session import Session
from kubectl_lite.unpacking import unpack
from kubectl_lite.verb import Verb

CHUNK = 256 * 1024
IN_MEMORY = 8 << 20
NOT_RUNNABLE = (126, 127)
"""What a shell, and the container runtimes, say of a program that is not there."""


def _flags(flags: Flags) -> None:
    flags.value("-c", "--container", help="which container; default: the first", metavar="NAME")
    flags.switch("--no-preserve", help="without the files' own modes")


@dataclass(frozen=True, slots=True)
class Place:
    path: str
    pod: str = ""
    """Empty: here."""
    namespace: str = ""


def place(text: str) -> Place:
    """`path`, `pod:path` or `namespace/pod:path`; raises UsageError. `./a:b` is a path."""
    front, colon, path = text.partition(":")
    if not colon or text.startswith((".", "/")):
        return Place(text)
    namespace, _, pod = front.rpartition("/")
    if not pod or not path:
        raise UsageError(f"{text!r}: write POD:PATH or NAMESPACE/POD:PATH")
    return Place(path, pod, namespace)


async def run(args: argparse.Namespace, session: Session) -> int:
    if len(args.words) != 2:
        raise UsageError("source and destination are required: cp FILE POD:PATH, or cp POD:PATH FILE")
    source, target = place(args.words[0]), place(args.words[1])
    if bool(source.pod) == bool(target.pod):
        raise UsageError("one of source and destination must be POD:PATH, the other a path here")
    remote = source if source.pod else target
    inside = _Inside(session, args.container, remote)
    await inside.find()
    if source.pod:
        await _download(source.path, session.here / target.path, inside, preserve=not args.no_preserve)
    else:
        await _upload(session.here / source.path, target.path, inside, preserve=not args.no_preserve)
    return 0


class _Inside:
    """Commands in the chosen container."""

    def __init__(self, session: Session, container: str, where: Place) -> None:
        self._session, self._container, self.io = session, container, session.io
        self._namespace, self._name = where.namespace or session.namespace, where.pod

    async def find(self) -> None:
        """Raises NotFound, and UsageError for a container that the pod has not."""
        pods = await self._session.names.find("pods")
        pod = await self._session.server.get(pods, self._name, self._namespace)
        self._container = container_of(pod, self._container, self._session)

    async def __call__(self, *command: str, source: IO[bytes] | None = None, sink: IO[bytes]) -> tuple[int, str]:
        """The exit code, and what the command complained of."""
        remote = await self._session.server.exec(
            self._name, self._namespace, command, container=self._container, stdin=source is not None
        )
        complaint = bytearray()

        async def feed(data: IO[bytes]) -> None:
            while piece := await asyncio.to_thread(data.read, CHUNK):
                await remote.write(piece)
            await remote.close_stdin()

        try:
            async with asyncio.TaskGroup() as tasks:
                feeding = tasks.create_task(feed(source), name="cp-stdin") if source is not None else None
                async for channel, data in remote.output():
                    if channel == 2:
                        complaint += data
                    else:
                        await asyncio.to_thread(sink.write, data)
                if feeding is not None:
                    feeding.cancel()
            return await remote.exit_code(), complaint.decode(errors="replace").strip()
        except* ApiError as errors:
            if command[0] == "tar" and any(
                "not found" in str(e) or "no such file" in str(e) for e in errors.exceptions
            ):
                raise self.without_tar() from errors
            raise errors.exceptions[0] from None

    def without_tar(self) -> Failed:
        return Failed(
            f'cannot copy: there is no tar in container "{self._container}" of pod {self._name}, and cp needs one\n'
            f"For one file: exec {self._name} -c {self._container} -- cat FILE (or -i ... sh -c 'cat > FILE')"
        )

    async def tar(self, *words: str, source: IO[bytes] | None = None, sink: IO[bytes]) -> None:
        code, complaint = await self("tar", *words, source=source, sink=sink)
        if code in NOT_RUNNABLE:
            raise self.without_tar()
        if code:
            raise Failed(complaint or f"tar ended with exit code {code}", code=1)


async def _download(path: str, here: Path, inside: _Inside, *, preserve: bool) -> None:
    far = PurePosixPath(path)
    name = far.name or "."
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as packed:
        # `./`: a name that begins with a dash is no flag.
        await inside.tar("cf", "-", "-C", str(far.parent), f"./{name}", sink=packed)
        packed.seek(0)
        for skipped in await asyncio.to_thread(unpack, packed, name, here, preserve=preserve):
            inside.io.warn(f"skipped {skipped}: it is neither a plain file nor a folder")


def pack(source: Path, name: str, packed: IO[bytes], *, preserve: bool) -> None:
    """The file or folder under another name."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        if not preserve:
            member.mode = 0o755 if member.isdir() else 0o644
        return member

    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(source, arcname=name, filter=plain)


async def _upload(here: Path, path: str, inside: _Inside, *, preserve: bool) -> None:
    if not await asyncio.to_thread(here.exists):
        raise Failed(f"{here} doesn't exist in local filesystem")
    far = PurePosixPath(path)
    code, _ = await inside("test", "-d", path, sink=io.BytesIO())
    if code == 0:
        far = far / (await asyncio.to_thread(here.resolve)).name
    with tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as packed:
        await asyncio.to_thread(pack, here, f"./{far.name}", packed, preserve=preserve)
        packed.seek(0)
        words = ["xmf" if not preserve else "xf", "-", "-C", str(far.parent)]
        await inside.tar(*words, source=packed, sink=io.BytesIO())


VERB = Verb(
    help="Copy files and folders to and from a container. It needs a tar in the container.",
    usage="SOURCE TARGET [-c CONTAINER] [flags]",
    examples="""
# Into a pod
kubectl-lite cp ./site web-1:/var/www
# Out of a pod of another namespace
kubectl-lite cp test/web-1:/tmp/log ./log
""",
    flags=_flags,
    run=run,
)
