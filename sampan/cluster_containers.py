"""The Docker containers of a one-machine cluster's nodes, found by their labels."""

from collections.abc import Collection

import docker
from docker.errors import NotFound


def remove_containers(nodes: Collection[str]) -> None:
    """Those that these nodes made: sandboxes last, so that no container loses its network while it still runs."""
    engine = docker.APIClient()
    try:
        found = engine.containers(all=True, filters={"label": "sampan.dev/pod-uid"})
        found = [item for item in found if item["Labels"].get("sampan.dev/node") in nodes]
        found.sort(key=lambda item: item["Labels"].get("sampan.dev/kind") == "sandbox")
        for item in found:
            try:
                engine.remove_container(item["Id"], force=True, v=True)
            except NotFound:
                continue
    finally:
        engine.close()
