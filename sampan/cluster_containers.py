"""What a one-machine cluster has in Docker's engine: its nodes' containers, found by their labels, and our two images."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import docker
from docker.errors import DockerException, NotFound

from node_agent import images


class ContainersError(Exception):
    """The engine does not answer, or refuses."""


@contextmanager
def _engine(base_url: str = "") -> Iterator[docker.APIClient]:
    """`base_url`: where the engine listens; empty: as the environment says."""
    try:
        engine = docker.APIClient(base_url=base_url or None)
        try:
            yield engine
        finally:
            engine.close()
    except DockerException as error:
        raise ContainersError(f"no Docker engine answers: {error}") from error


def remove_containers(nodes: Collection[str], base_url: str = "") -> None:
    """Those that these nodes made: sandboxes last, so that no container loses its network while it still runs."""
    with _engine(base_url) as engine:
        found = engine.containers(all=True, filters={"label": "sampan.dev/pod-uid"})
        found = [item for item in found if item["Labels"].get("sampan.dev/node") in nodes]
        found.sort(key=lambda item: item["Labels"].get("sampan.dev/kind") == "sandbox")
        for item in found:
            try:
                engine.remove_container(item["Id"], force=True, v=True)
            except NotFound:
                continue


def ensure_images(base_url: str = "") -> Sequence[str]:
    """The names of those that had to be made."""
    with _engine(base_url) as engine:
        return images.ensure(cast(images.Engine, engine))
