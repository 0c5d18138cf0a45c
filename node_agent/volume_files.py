"""What volumes are on disk: trees of files that change at once, empty directories, memory file systems, host paths.

Everything blocks; a refusal is a MissingReference, whose text goes into the event FailedMount.
"""

import ctypes
import os
import re
import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from kubeapi.types.core_v1 import HostPathVolumeSource
from node_agent.references import MissingReference

OWNER = "node"
"""A file in a pod's directory: the address of the node that made it."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH, _NOFOLLOW = 2, 8


@dataclass(frozen=True, slots=True)
class File:
    data: bytes
    mode: int = 0o644
    owner: int | None = None


Tree = Mapping[str, File]


def write_tree(here: Path, tree: Tree, group: int | None) -> None:
    """Switches the visible files to `tree` at once; writes nothing when they are the same already.

    The files are in a directory of their own, to which the link `..data` leads: it is switched by one rename.
    """
    here.mkdir(parents=True, exist_ok=True)
    link = here / "..data"
    current = link.resolve() if link.is_symlink() else None
    if current is not None and _same(current, tree):
        return
    serial = 1 + max((int(p.name[4:]) for p in here.glob("..v_*") if p.name[4:].isdigit()), default=0)
    fresh = here / f"..v_{serial}"
    fresh.mkdir(mode=0o755)
    for path, file in tree.items():
        target = fresh / path
        if not target.resolve().is_relative_to(fresh.resolve()):
            raise MissingReference(f"path {path!r} leads out of the volume")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.data)
        target.chmod(file.mode | (0o440 if group is not None else 0))
        if group is not None or file.owner is not None:
            os.chown(target, -1 if file.owner is None else file.owner, -1 if group is None else group)
    pending = here / "..data_next"
    pending.unlink(missing_ok=True)
    pending.symlink_to(fresh.name)
    pending.rename(link)
    tops = {PurePosixPath(path).parts[0] for path in tree}
    for name in tops:
        if not (here / name).is_symlink():
            (here / name).symlink_to(f"..data/{name}")
    for entry in list(here.iterdir()):
        if entry.name.startswith("..v_") and entry.name != fresh.name:
            shutil.rmtree(entry)  # also what an interrupted switch left
        elif not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()


def _same(current: Path, tree: Tree) -> bool:
    there = {str(p.relative_to(current)): p for p in current.rglob("*") if p.is_file()}
    return there.keys() == tree.keys() and all(there[path].read_bytes() == file.data for path, file in tree.items())


def empty_dir(here: Path, group: int | None, *, memory: bool, limit: int) -> None:
    """`memory`: a file system in memory, of at most `limit` bytes if that is not 0."""
    if here.exists() and (not memory or os.path.ismount(here)):
        return
    here.mkdir(parents=True, exist_ok=True)
    if memory:
        _mount_memory(here, limit)
    here.chmod(0o777)
    if group is not None:
        os.chown(here, -1, group)
        here.chmod(0o777 | stat.S_ISGID)


def _mount_memory(here: Path, limit: int) -> None:
    options = f"size={limit}" if limit else ""
    if _LIBC.mount(b"tmpfs", os.fsencode(here), b"tmpfs", 0, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot mount a file system in memory: {os.strerror(code)}")


def used_bytes(here: Path) -> int:
    """Of disk, each file once; what vanishes meanwhile does not count."""
    seen, total = set[tuple[int, int]](), 0
    for folder, _, names in os.walk(here):
        for name in names:
            try:
                found = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            if (found.st_dev, found.st_ino) not in seen:
                seen.add((found.st_dev, found.st_ino))
                total += found.st_blocks * 512
    return total


_KINDS = {
    "Directory": (Path.is_dir, "a directory"),
    "DirectoryOrCreate": (Path.is_dir, "a directory"),
    "File": (Path.is_file, "a file"),
    "FileOrCreate": (Path.is_file, "a file"),
    "Socket": (Path.is_socket, "a socket file"),
    "CharDevice": (Path.is_char_device, "a character device"),
    "BlockDevice": (Path.is_block_device, "a block device"),
}


def check_host_path(source: HostPathVolumeSource) -> None:
    path, kind = Path(source.path), source.type or ""
    if ".." in path.parts or not path.is_absolute():
        raise MissingReference(f"hostPath {source.path!r} must be an absolute path without '..'")
    if kind and kind not in _KINDS:
        raise MissingReference(f"hostPath type {kind!r} is not known")
    if kind in ("", "DirectoryOrCreate") and not path.exists():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif kind == "FileOrCreate" and not path.exists():
        path.touch(mode=0o644)
    if kind in _KINDS and not _KINDS[kind][0](path):
        raise MissingReference(f"hostPath type check failed: {path} is not {_KINDS[kind][1]}")


def open_to_all(path: Path) -> None:
    """A provisioned directory, made now if it is not there: for whichever user the pod runs as."""
    if not path.exists():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.chmod(0o777)


def own(home: Path, node: str) -> None:
    mark = home / OWNER
    if not mark.exists():
        home.mkdir(parents=True, exist_ok=True)
        mark.write_text(node)


def owned(folder: Path, node: str) -> list[str]:
    """Names of the directories that bear this node's mark."""
    marks = folder.glob(f"*/{OWNER}")
    return [mark.parent.name for mark in marks if mark.read_text() == node]


def release(root: Path) -> None:
    """Takes off whatever is mounted below `root`, the deepest first: what remains can be removed file by file."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return
    found = [_unescaped(line.split()[1]) for line in mounts.read_text().splitlines()]
    inside = [path for path in found if Path(path) != root and Path(path).is_relative_to(root)]
    for path in sorted(inside, key=len, reverse=True):
        if _LIBC.umount2(os.fsencode(path), _MNT_DETACH | _NOFOLLOW):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot unmount {path}: {os.strerror(code)}")


def _unescaped(text: str) -> str:
    """The kernel writes blanks and the like as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def discard(home: Path) -> None:
    """All of a pod's directory; what is mounted inside is taken off first, and never walked into."""
    if home.exists():
        release(home.resolve())
        shutil.rmtree(home)
