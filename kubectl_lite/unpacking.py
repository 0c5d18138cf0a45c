"""What came out of a container as a tar archive, written here. It is not trusted: nothing leaves the destination.

Plain files and folders are written; links are left out and named, as kubectl does, so none can lead elsewhere. Not by
tarfile's own filters: Python 3.11 has them only from 3.11.4 on, and Debian 12 serves 3.11.2.
"""

from __future__ import annotations

import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from kubectl_lite.errors import Failed


def unpack(packed: IO[bytes], name: str, here: Path, *, preserve: bool = True) -> Sequence[str]:
    """A file becomes `here`, or goes into the folder `here`; a folder's content goes into the folder `here`.

    Returns the names of what was left out. Raises Failed when a name would leave the destination.
    """
    with tarfile.open(fileobj=packed, mode="r:") as archive:
        members = archive.getmembers()
        if not members:
            raise Failed(f"{name}: nothing came out of the container")
        folder = members[0].isdir()
        into = here if folder or here.is_dir() else here.parent
        single = None if folder or here.is_dir() else here.name
        into.mkdir(parents=True, exist_ok=True)
        skipped = []
        for member in members:
            parts = [part for part in PurePosixPath(member.name).parts if part != "."]
            shorter = PurePosixPath(*parts[1:]) if folder and name != "." else PurePosixPath(*parts)
            target = _within(into, PurePosixPath(single) if single else shorter, member.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                _write(archive, member, target)
            else:
                skipped.append(member.name)
                continue
            if preserve:  # never the bits by which a program runs as somebody else
                target.chmod(member.mode & 0o777 | (0o700 if member.isdir() else 0o600))
    return skipped


def _within(into: Path, inner: PurePosixPath, name: str) -> Path:
    """Also a link that is here already must not lead out."""
    target = into.joinpath(*inner.parts)
    if inner.is_absolute() or ".." in inner.parts or not target.resolve().is_relative_to(into.resolve()):
        raise Failed(f"{name}: refused, since it would leave {into}")
    return target


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)
