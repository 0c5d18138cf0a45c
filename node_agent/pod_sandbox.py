"""A pod's sandbox: what it is asked for with, and the address it gets. Failures become an event, and are tried again."""

from kubeapi.types.core_v1 import Pod
from node_agent.admission import obstacle
from node_agent.network.errors import NetworkError
from node_agent.parts import Parts
from node_agent.pod_files import hostname_of
from node_agent.runtimes.errors import CreateFailed
from node_agent.runtimes.interface import Container, SandboxSpec


class Unable(Exception):
    """A step that did not work, with the reason of its event. Tried again."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class PodSandbox:
    ip: str
    """The pod's address, once it is known."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._attached_to = ""
        self.ip = ""

    async def make(self, pod: Pod, attempt: int) -> Container:
        """Raises Unable."""
        spec = self._spec(pod, attempt)
        try:
            if reason := obstacle(pod, spec.hostname):
                raise CreateFailed(reason)
            with self._parts.metrics.sandbox():
                made = await self._parts.runtime.run_sandbox(spec)
        except CreateFailed as error:
            raise Unable("FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}") from error
        await self.attach(pod, made)
        return made

    async def attach(self, pod: Pod, sandbox: Container) -> None:
        """Gives the sandbox its network, once for each sandbox and run of the agent. Raises Unable."""
        if self._attached_to == sandbox.id:
            return
        if pod.spec.host_network:
            self.ip = self._parts.facts.ip
        else:
            ports = [
                ((port.protocol or "TCP").lower(), port.host_port, port.container_port)
                for wish in [*pod.spec.init_containers, *pod.spec.containers]
                for port in wish.ports
                if port.host_port
            ]
            try:
                with self._parts.metrics.stage("network"):
                    self.ip = await self._parts.network.attach(pod.metadata.uid, sandbox.pid, host_ports=ports)
            except (NetworkError, OSError) as error:
                text = f"Failed to create pod sandbox: failed to set up network: {error}"
                raise Unable("FailedCreatePodSandBox", text) from error
        self._attached_to = sandbox.id

    def _spec(self, pod: Pod, attempt: int) -> SandboxSpec:
        security, facts, hostname = pod.spec.security_context, self._parts.facts, hostname_of(pod)
        if pod.spec.host_network:
            hostname = facts.name
        elif pod.spec.set_hostname_as_fqdn and pod.spec.subdomain:
            hostname = f"{hostname}.{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{facts.domain}"
        return SandboxSpec(
            pod_uid=pod.metadata.uid,
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            hostname=hostname,
            host_network=pod.spec.host_network,
            host_pid=pod.spec.host_pid,
            host_ipc=pod.spec.host_ipc,
            share_pid=bool(pod.spec.share_process_namespace),
            sysctls={s.name.replace("/", "."): s.value for s in security.sysctls} if security else {},
            attempt=attempt,
        )
