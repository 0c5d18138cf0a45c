"""What can go wrong in a runtime. Docker's own errors are translated here and nowhere above.

RuntimeFault
├── ImageNotFound        the image is not here, or the registry does not have it
├── ContainerNotFound    the container is gone: usually somebody removed it
├── CreateFailed         the runtime refuses this container: bad command, bad mount, bad option
└── RuntimeUnavailable   the engine does not answer: nothing is known, so nothing may be concluded
"""


class RuntimeFault(Exception):
    """Any failure of a container runtime."""


class ImageNotFound(RuntimeFault):
    pass


class ContainerNotFound(RuntimeFault):
    pass


class CreateFailed(RuntimeFault):
    """The message is shown to the user in the container's status."""

    def __init__(self, message: str, *, exit_code: int = 128) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class RuntimeUnavailable(RuntimeFault, ConnectionError):
    pass
