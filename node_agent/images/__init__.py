"""The two images that Sampan brings along, made without a registry from one static busybox binary.

`sampan/pause:1` holds a pod's network namespace and reaps its orphans; `sampan/busybox:1` is a small world for
demos and tests. Both are plain tar files that `docker import` (or `sampan load`) takes.
"""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

PAUSE = "sampan/pause:1"
BUSYBOX = "sampan/busybox:1"

PAUSE_LOOP = "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done"
"""As process 1 the shell reaps adopted children whenever it waits, and ends at once on TERM."""


class Engine(Protocol):
    """The part of docker.APIClient that is needed here."""

    def import_image_from_data(
        self, data: bytes, repository: str | None = None, tag: str | None = None, changes: Any = None
    ) -> Any: ...
    def images(self, name: str | None = None) -> Any: ...


@dataclass(frozen=True, slots=True)
class Recipe:
    name: str
    changes: Sequence[str]


RECIPES = (
    Recipe(PAUSE, (f'CMD ["/bin/sh", "-c", "{PAUSE_LOOP}"]', "LABEL sampan.dev/image=pause")),
    Recipe(BUSYBOX, ('CMD ["/bin/sh"]', "ENV PATH=/bin:/usr/bin", "LABEL sampan.dev/image=busybox")),
)


def find_busybox() -> Path:
    """The static busybox of this machine (Debian: busybox-static)."""
    found = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if found is None:
        raise FileNotFoundError("cannot make the pause image: no busybox here (Debian: busybox-static)")
    return Path(found)


def root_tar(busybox: Path) -> bytes:
    """A root file system with busybox under each of its names, /tmp, /etc and the mount points."""
    names = subprocess.run([busybox, "--list"], check=True, capture_output=True, text=True).stdout.split()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for folder, mode in (
            ("bin", 0o755), ("etc", 0o755), ("proc", 0o755), ("sys", 0o755), ("dev", 0o755),
            ("root", 0o700), ("tmp", 0o1777), ("var", 0o755), ("usr", 0o755), ("home", 0o755),
        ):  # fmt: skip
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            tar.addfile(entry)
        binary = busybox.read_bytes()
        entry = tarfile.TarInfo("bin/busybox")
        entry.size, entry.mode = len(binary), 0o755
        tar.addfile(entry, io.BytesIO(binary))
        for name in names:
            if name != "busybox":
                entry = tarfile.TarInfo(f"bin/{name}")
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        entry = tarfile.TarInfo("usr/bin")
        entry.type, entry.linkname = tarfile.SYMTYPE, "../bin"
        tar.addfile(entry)
        for name, text in (
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/tmp:/bin/false\n"),
            ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text), 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


def ensure(engine: Engine, *, busybox: Path | None = None) -> list[str]:
    """Import whichever of our images the engine lacks; returns the names of those made. Blocking."""
    missing = [recipe for recipe in RECIPES if not engine.images(name=recipe.name)]
    if not missing:
        return []
    root = root_tar(busybox or find_busybox())
    for recipe in missing:
        repository, tag = recipe.name.split(":")
        engine.import_image_from_data(root, repository=repository, tag=tag, changes=list(recipe.changes))
    return [recipe.name for recipe in missing]
