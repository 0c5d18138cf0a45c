"""Which cluster runs on this machine: one at a time, since two would share bridges, rules and Docker's engine.

    DIR/up.lock          held while the cluster of DIR runs; holds its process id
    /run/sampan.lock     held while any runs; holds its directory's name, also after it was killed, until the next boot

Both are locks of the kernel's: they go with the process that holds them, however it ends.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.cluster_layout import Layout

_ONE_HERE = Path("/run/sampan.lock")


class LockError(Exception):
    """Who runs here already, in words for the person who asked."""


def locked(layout: Layout) -> bool:
    """Whether the cluster of this data directory runs."""
    return _held(layout.lock)


@contextmanager
def only_cluster(layout: Layout) -> Iterator[None]:
    """Raises LockError while this cluster, or another of this machine, runs."""
    with only_process(layout), _holding(_ONE_HERE, str(layout.directory), lambda: refusal_of(last_cluster())):
        yield


@contextmanager
def only_process(layout: Layout) -> Iterator[None]:
    """For a cluster that uses nothing of the machine but its directory. Raises LockError while it runs already."""
    with _holding(layout.lock, str(os.getpid()), lambda: f"a cluster runs already on {layout.directory}"):
        yield


def last_cluster() -> str:
    """The directory of whoever had a cluster on this machine last, if since the last boot."""
    return _ONE_HERE.read_text().strip() if _ONE_HERE.exists() else ""


def other_cluster(layout: Layout) -> str:
    """The directory of the cluster that runs on this machine, if it is not this one."""
    directory = last_cluster() if _held(_ONE_HERE) else ""
    return directory if directory != str(layout.directory) else ""


def refusal_of(directory: str) -> str:
    return f"another cluster runs on this machine: {directory}; `sampan down --data-dir {directory}` ends it"


def _held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def _holding(lock: Path, text: str, refusal: Callable[[], str]) -> Iterator[None]:
    """`text` is for those who find it held."""
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockError(refusal()) from None
        file.truncate(0)
        file.write(text)
        file.flush()
        yield
