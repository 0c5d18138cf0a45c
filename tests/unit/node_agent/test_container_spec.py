"""From a wish to what the engine is told, or the words in which it is refused."""

import pytest

from kubeapi.types.core_v1 import (
    AppArmorProfile,
    ContainerPort,
    PodOS,
    PodSecurityContext,
    ResourceRequirements,
    SeccompProfile,
    SecurityContext,
    SELinuxOptions,
    Sysctl,
)
from node_agent.admission import obstacle, refusal
from node_agent.container_spec import BadConfig, container_spec
from node_agent.pod_plan import Start
from node_agent.runtimes.docker_spec import container_options
from node_agent.runtimes.interface import ContainerSpec
from tests.unit.node_agent.pods import pod, sandbox, wish


def spec(security: SecurityContext | None = None, *, image_user: str = "", **shared: object) -> ContainerSpec:
    thing = wish(security_context=security)
    about = PodSecurityContext(**shared)  # type: ignore[arg-type]
    found = pod(thing, security_context=about)
    return container_spec(found, Start(thing, "app"), env={}, mounts=[], node_memory=1 << 30, image_user=image_user)


@pytest.mark.parametrize(
    ("security", "image_user", "words"),
    [
        (SecurityContext(run_as_non_root=True, run_as_user=0), "", "container's runAsUser breaks non-root policy"),
        (SecurityContext(run_as_non_root=True), "", "container has runAsNonRoot and image will run as root"),
        (SecurityContext(run_as_non_root=True), "0:0", "container has runAsNonRoot and image will run as root"),
        (SecurityContext(run_as_non_root=True), "nginx", "image has non-numeric user (nginx), cannot verify"),
        (SecurityContext(seccomp_profile=SeccompProfile(type="Localhost")), "", "type Localhost are not supported"),
    ],
)
def test_refusals(security: SecurityContext, image_user: str, words: str) -> None:
    with pytest.raises(BadConfig) as refused:
        spec(security, image_user=image_user)
    assert words in str(refused.value)


def test_an_image_with_a_numeric_user_keeps_the_non_root_promise() -> None:
    assert spec(SecurityContext(run_as_non_root=True), image_user="101:101").user == ""


def test_huge_pages_are_refused() -> None:
    thing = wish(resources=ResourceRequirements(limits={"hugepages-2Mi": "4Mi"}))
    with pytest.raises(BadConfig, match="hugepages-2Mi"):
        container_spec(pod(thing), Start(thing, "app"), env={}, mounts=[], node_memory=1)


def test_what_the_engine_is_told_about_security() -> None:
    security = SecurityContext(
        seccomp_profile=SeccompProfile(type="Unconfined"),
        app_armor_profile=AppArmorProfile(type="Localhost", localhost_profile="mine"),
        se_linux_options=SELinuxOptions(level="s0:c1", type="t"),
        allow_privilege_escalation=False,
        proc_mount="Unmasked",
    )
    host = container_options(spec(security), sandbox(), node="n1", oom_score_adj=0)["HostConfig"]
    assert host["SecurityOpt"] == [
        "label=type:t", "label=level:s0:c1", "no-new-privileges", "seccomp=unconfined", "apparmor=mine",
    ]  # fmt: skip
    assert (host["MaskedPaths"], host["ReadonlyPaths"]) == ([], [])


def test_a_container_overrides_what_its_pod_says() -> None:
    inner = SecurityContext(seccomp_profile=SeccompProfile(type="RuntimeDefault"))
    assert spec(inner, seccomp_profile=SeccompProfile(type="Unconfined")).seccomp == ""
    assert spec(None, seccomp_profile=SeccompProfile(type="Unconfined")).seccomp == "unconfined"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        (
            {"security_context": PodSecurityContext(sysctls=[Sysctl(name="kernel.msgmax", value="1")])},
            "SysctlForbidden",
        ),
        (
            {
                "security_context": PodSecurityContext(sysctls=[Sysctl(name="net.ipv4.tcp_syncookies", value="1")]),
                "host_network": True,
            },
            "SysctlForbidden",
        ),
        ({"os": PodOS(name="windows")}, "PodOSNotSupported"),
    ],
)
def test_a_node_does_not_admit(fields: dict[str, object], reason: str) -> None:
    found = refusal(pod(**fields))  # type: ignore[arg-type]
    assert found is not None and found[0] == reason


def test_a_safe_sysctl_is_admitted() -> None:
    safe = PodSecurityContext(sysctls=[Sysctl(name="net/ipv4/ip_unprivileged_port_start", value="0")])
    assert refusal(pod(security_context=safe)) is None


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"runtime_class_name": "gvisor"}, 'RuntimeClass "gvisor"'),
        ({"host_users": False}, "hostUsers"),
    ],
)
def test_a_sandbox_that_cannot_be_had(fields: dict[str, object], words: str) -> None:
    assert words in obstacle(pod(**fields), "web")  # type: ignore[arg-type]
    assert obstacle(pod(), "web") == ""
    assert "64" in obstacle(pod(), "w" * 65)


def test_a_host_port_of_one_address_is_refused() -> None:
    port = ContainerPort(container_port=80, host_port=80, host_ip="192.0.2.1")
    assert "hostIP" in obstacle(pod(wish(ports=[port])), "web")
