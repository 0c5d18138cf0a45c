"""Starts one container: image, environment, mounts, runtime, postStart. Every refusal is a Blocked with its reason."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from kubeapi.errors import ApiError
from kubeapi.types.core_v1 import Container as ContainerWish
from kubeapi.types.core_v1 import Pod, Secret
from node_agent import pod_files
from node_agent.checks import Target
from node_agent.container_spec import BadConfig, container_spec
from node_agent.environment import environment
from node_agent.parts import Parts
from node_agent.pod_events import PodEvents, in_words
from node_agent.pod_plan import Blocked, Start
from node_agent.pull_secrets import logins_for
from node_agent.references import MissingReference
from node_agent.runtimes.errors import CreateFailed, ImageNotFound, RuntimeUnavailable
from node_agent.runtimes.interface import Container, Login, Mount
from node_agent.volumes import Place, mounts_of

CONFIG_RETRY = 5.0
PULL_FIRST, PULL_MOST = 10.0, 300.0
TERMINATION_LOG = "/dev/termination-log"
HOOK_LIMIT = 300.0
HOSTS = Path("/etc/hosts")
_IMAGE = re.compile(
    r"(?:[A-Za-z0-9.-]+(?::\d+)?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?"
    r"|(?:sha256:)?[0-9a-f]{64}"
)


class ContainerStarter:
    _pull_failures: dict[str, int]
    """By image, in a row."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._events = PodEvents(parts.events)
        self._pull_failures = {}
        self.pulling = 0.0
        """Seconds spent on images so far."""

    async def start(
        self,
        pod: Pod,
        start: Start,
        sandbox: Container,
        *,
        pod_ip: str,
        volumes: Mapping[str, Place],
        pid_of: str = "",
    ) -> Container | Blocked:
        """`pid_of`: the container whose processes it is to see."""
        parts, wish = self._parts, start.wish
        if (blocked := await self._image(pod, wish)) is not None:
            parts.metrics.container_refused(start.kind, blocked.reason)
            return blocked
        try:
            env = await environment(
                pod,
                wish,
                parts.references,
                services=parts.services(),
                pod_ip=pod_ip,
                host_ip=parts.facts.ip,
                allocatable=parts.facts.allocatable,
            )
            home = parts.volumes.home(pod.metadata.uid)
            mounts = await asyncio.to_thread(mounts_of, wish, volumes, env, on_disk=home is not None)
            if home is not None:
                mounts += await asyncio.to_thread(self._own_files, pod, start, home, pod_ip, mounts)
            memory = int(parts.facts.allocatable.get("memory", 0))
            user = await parts.runtime.image_user(wish.image)
            spec = container_spec(pod, start, env=env, mounts=mounts, node_memory=memory, image_user=user)
            spec = replace(spec, pid_of=pid_of)
        except (MissingReference, BadConfig) as error:
            return self._refuse_start(pod, start, "CreateContainerConfigError", f"{error}", CONFIG_RETRY)
        except ApiError as error:
            return self._refuse_start(pod, start, "CreateContainerConfigError", f"cannot read: {error}", CONFIG_RETRY)
        try:
            with parts.metrics.runtime_operation("run_container"):
                container = await parts.runtime.start_container(spec, sandbox)
        except CreateFailed as error:
            return self._refuse_start(pod, start, "RunContainerError", str(error), PULL_FIRST)
        except ImageNotFound as error:
            return self._refuse_start(pod, start, "ErrImageNeverPull", str(error), PULL_FIRST)
        parts.metrics.container_started(start.kind, attempt=start.attempt)
        self._say(pod, wish, "Created", f"Created container: {wish.name}")
        self._say(pod, wish, "Started", f"Started container {wish.name}")
        return await self._post_start(pod, wish, container, sandbox, pod_ip)

    async def _post_start(
        self, pod: Pod, wish: ContainerWish, container: Container, sandbox: Container, pod_ip: str
    ) -> Container:
        if wish.lifecycle is None or wish.lifecycle.post_start is None:
            return container
        target = Target(container, wish, pod_ip, sandbox.pid)
        verdict = await self._parts.checker.check("postStart", wish.lifecycle.post_start, target, timeout=HOOK_LIMIT)
        if not verdict.good:
            self._warn(pod, wish, "FailedPostStartHook", f"PostStartHook failed: {verdict.text}")
            grace = pod.spec.termination_grace_period_seconds
            await self._parts.runtime.stop(container.id, grace=30 if grace is None else grace)
        return container

    async def _image(self, pod: Pod, wish: ContainerWish) -> Blocked | None:
        runtime, image = self._parts.runtime, wish.image
        if not _IMAGE.fullmatch(image):
            text = f'Failed to apply default image tag "{image}": couldn\'t parse image name'
            return self._refuse(pod, wish, "InvalidImageName", text, PULL_MOST, say="InspectFailed")
        policy = wish.image_pull_policy or "IfNotPresent"
        if policy != "Always" and await runtime.has_image(image):
            self._say(pod, wish, "Pulled", f'Container image "{image}" already present on machine')
            return None
        if policy == "Never":
            text = f'Container image "{image}" is not present with pull policy of Never'
            return self._refuse(pod, wish, "ErrImageNeverPull", text, PULL_FIRST, say="ErrImageNeverPull")
        self._say(pod, wish, "Pulling", f'Pulling image "{image}"')
        begun = self._parts.clock.monotonic()
        try:
            logins = await self._logins(pod, image)
            with self._parts.metrics.runtime_operation("pull_image"):
                await runtime.pull_image(image, logins=logins)
        except RuntimeUnavailable:
            raise
        except ImageNotFound as error:
            self.pulling += self._parts.clock.monotonic() - begun
            failures = self._pull_failures.get(image, 0)
            self._pull_failures[image] = failures + 1
            delay = min(PULL_MOST, PULL_FIRST * 2.0 ** min(failures, 10))
            text = f'Failed to pull image "{image}": {error}'
            self._warn(pod, wish, "Failed", text)
            return self._refuse(pod, wish, "ErrImagePull", text, delay, event="Error: ErrImagePull")
        self._pull_failures.pop(image, None)
        took = self._parts.clock.monotonic() - begun
        self.pulling += took
        words = in_words(took)
        text = f'Successfully pulled image "{image}" in {words} ({words} including waiting)'
        self._say(pod, wish, "Pulled", text)
        return None

    async def _logins(self, pod: Pod, image: str) -> list[Login]:
        found, missing = list[Secret](), list[str]()
        for ref in pod.spec.image_pull_secrets:
            secret = await self._parts.references.find(Secret, pod.metadata.namespace, ref.name)
            if secret is None:
                missing.append(ref.name)
            else:
                found.append(secret)
        if missing:
            text = f"Unable to retrieve some image pull secrets ({', '.join(missing)})"
            text += "; attempting to pull the image may not succeed."
            self._events.warn(pod, "FailedToRetrieveImagePullSecret", text)
        return logins_for(image, found)

    def _own_files(self, pod: Pod, start: Start, home: Path, pod_ip: str, mounts: list[Mount]) -> list[Mount]:
        """hosts, resolv.conf and the file for the last words, unless the user mounts something there."""
        facts, taken = self._parts.facts, {mount.target for mount in mounts}
        folder = home / "containers" / start.wish.name
        folder.mkdir(parents=True, exist_ok=True)
        last_words = folder / f"{start.attempt}.log"
        last_words.touch()
        last_words.chmod(0o666)
        resolv = pod_files.resolv_conf(pod, dns_ip=facts.dns_ip, domain=facts.domain, host_text=facts.host_resolv)
        (home / "resolv.conf").write_text(resolv)
        found = [
            Mount(str(last_words), start.wish.termination_message_path or TERMINATION_LOG),
            Mount(str(home / "resolv.conf"), "/etc/resolv.conf"),
        ]
        if not pod.spec.host_network or pod.spec.host_aliases:
            machine = HOSTS.read_text() if pod.spec.host_network and HOSTS.exists() else ""
            text = pod_files.hosts(pod, pod_ip=pod_ip, domain=facts.domain, host_text=machine)
            (home / "hosts").write_text(text)
            found.append(Mount(str(home / "hosts"), "/etc/hosts"))
        return [mount for mount in found if mount.target not in taken]

    def _refuse_start(self, pod: Pod, start: Start, reason: str, message: str, delay: float) -> Blocked:
        self._parts.metrics.container_refused(start.kind, reason)
        return self._refuse(pod, start.wish, reason, message, delay)

    def _refuse(
        self,
        pod: Pod,
        wish: ContainerWish,
        reason: str,
        message: str,
        delay: float,
        *,
        say: str = "Failed",
        event: str = "",
    ) -> Blocked:
        """`event`: its text, if that is another than the message of the status."""
        self._warn(pod, wish, say, event or (f"Error: {message}" if say == "Failed" else message))
        now = self._parts.clock.now()
        return Blocked(reason, message, now + timedelta(seconds=delay), now)

    def _say(self, pod: Pod, wish: ContainerWish, reason: str, message: str) -> None:
        self._events.say(pod, reason, message, container=wish.name)

    def _warn(self, pod: Pod, wish: ContainerWish, reason: str, message: str) -> None:
        self._events.warn(pod, reason, message, container=wish.name)
