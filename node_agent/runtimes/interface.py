"""The runtime contract: what the node agent asks of whatever runs containers.

Every runtime passes tests/contract/test_runtime.py: docker and hollow. A pod is known by its UID; what runs is
found again after an agent restart by labels on the containers alone. Containers are immutable: a restart is a
new container with `attempt` one higher. The pod's network namespace belongs to its sandbox (pause container).
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    target: str
    read_only: bool = False
    propagation: str = ""


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    pod_uid: str
    name: str
    namespace: str
    hostname: str
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_pid: bool = False
    """All containers of the pod see each other's processes, and the sandbox's."""
    sysctls: Mapping[str, str] = field(default_factory=dict)
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """All references resolved: env, mounts and image are literal."""

    pod_uid: str
    name: str
    image: str
    attempt: int
    spec_hash: str
    kind: Literal["init", "app", "ephemeral"] = "app"
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    working_dir: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[Mount] = ()
    cpu_shares: int = 0
    """Relative weight, from the cpu request."""
    cpu_quota: float = 0.0
    """Cores; 0 is no limit."""
    memory_bytes: int = 0
    """0 is no limit."""
    oom_score_adj: int = 0
    user: str = ""
    groups: Sequence[int] = ()
    privileged: bool = False
    read_only_root: bool = False
    add_capabilities: Sequence[str] = ()
    drop_capabilities: Sequence[str] = ()
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    """Its stdin ends when the first who attached to it has gone."""
    stop_signal: str = ""
    no_new_privileges: bool = False
    seccomp: Literal["", "unconfined"] = ""
    """Empty: the engine's default profile."""
    apparmor: str = ""
    """A profile's name, or "unconfined"; empty: the engine's default."""
    selinux: Sequence[str] = ()
    """Labels such as "user:x", "type:y"."""
    unmasked_proc: bool = False
    host_pid: bool = False
    pid_of: str = ""
    """Id of another container of the pod, whose processes it sees (kubectl debug --target)."""
    share_pid: bool = False
    """All containers of the pod see each other's processes."""
    backoff_step: int = 0
    """How many attempts before this one ended early, without a long run between: kept on the container, so that
    the restart delay survives the agent."""


@dataclass(frozen=True, slots=True)
class Container:
    id: str
    pod_uid: str
    name: str
    """The container's name in the pod; "" for the sandbox."""
    attempt: int
    spec_hash: str
    kind: Literal["sandbox", "init", "app", "ephemeral"]
    image: str
    image_id: str
    state: Literal["created", "running", "exited"]
    exit_code: int = 0
    oom_killed: bool = False
    message: str = ""
    """Why it could not start, or what it wrote to its termination message path."""
    created: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    pid: int = 0
    """Of the sandbox: whose /proc/PID/ns/net is the pod's network."""
    pod_name: str = ""
    pod_namespace: str = ""
    backoff_step: int = 0


@dataclass(frozen=True, slots=True)
class ImageInfo:
    id: str
    names: Sequence[str]
    size: int


@dataclass(frozen=True, slots=True)
class Login:
    """At a registry."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class ExecStream(Protocol):
    """One running command's streams. Output items are (channel, data): 1 stdout, 2 stderr."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]: ...
    async def write(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, width: int, height: int) -> None: ...
    async def exit_code(self) -> int: ...
    async def close(self) -> None: ...


class Runtime(Protocol):
    """Errors: ImageNotFound, ContainerNotFound, RuntimeUnavailable, CreateFailed: see errors.py."""

    async def version(self) -> str: ...
    async def list(self) -> Sequence[Container]:
        """All containers of ours, sandboxes too, running or exited: the truth."""
        ...

    def changes(self) -> AsyncGenerator[str, None]:
        """Yields "" once it hears, then the UID of each pod in which something ended, or was started by another: a hint;
        some may be missed, and a runtime may tell of what its caller starts, too. Ends, or raises RuntimeUnavailable,
        when the runtime goes away: what happened between that and the next "" is told to nobody."""
        ...

    async def run_sandbox(self, spec: SandboxSpec) -> Container: ...
    async def start_container(self, spec: ContainerSpec, sandbox: Container) -> Container: ...
    async def stop(self, container_id: str, *, grace: float) -> None:
        """TERM (or the stop signal), KILL after `grace` seconds. Idempotent; absent is fine."""
        ...

    async def remove(self, container_id: str) -> None:
        """Idempotent; kills what still runs."""
        ...

    def logs(
        self,
        container_id: str,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
    ) -> AsyncIterator[bytes]: ...

    async def exec(
        self, container_id: str, command: Sequence[str], *, tty: bool = False, stdin: bool = False
    ) -> ExecStream: ...

    async def attach(self, container_id: str, *, tty: bool = False, stdin: bool = False) -> ExecStream:
        """The streams of the container's own process, from now on."""
        ...

    async def images(self) -> Sequence[ImageInfo]: ...
    async def has_image(self, image: str) -> bool: ...
    async def image_user(self, image: str) -> str:
        """Whom the image runs as when nobody says otherwise; "" is root."""
        ...

    async def pull_image(self, image: str, *, logins: Sequence[Login] = ()) -> None:
        """Tries the logins in turn; without any, as nobody. Raises ImageNotFound with what the registry said."""
        ...

    async def usage(self) -> Mapping[str, tuple[float, int]]:
        """By container id: cumulative CPU seconds and working set bytes."""
        ...

    async def close(self) -> None: ...
