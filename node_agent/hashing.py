"""A container's identity as specified: when it changes, the container is replaced."""

import hashlib

from kubeapi.types.core_v1 import Container


def spec_hash(wish: Container) -> str:
    """Of what cannot change in a running container. Of all a pod's fields only the image is mutable."""
    return hashlib.sha256(f"{wish.name}\0{wish.image}".encode()).hexdigest()[:16]
