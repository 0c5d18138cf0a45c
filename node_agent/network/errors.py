"""What can go wrong in the network. Apart from the kernel, so that hollow nodes need none of its libraries."""


class NetworkError(Exception):
    """The kernel refused a change; says which."""
