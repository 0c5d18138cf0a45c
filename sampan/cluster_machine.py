"""What the one-machine cluster changes on its machine outside Docker: a bridge, one network namespace per node with
an address on that bridge, and the rules that let them talk. All blocking, all idempotent, all undone by `remove`.

dockerd drops forwarded packets by default, and where bridged frames pass netfilter (bridge-nf-call-iptables) also
those between two nodes on our bridge: two accepting rules at the head of FORWARD, tagged with a comment.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

BRIDGE = "sampan0"
NETWORK = "172.30.0.0/24"
MACHINE = "172.30.0.1"
BRIDGE_MAC = "0a:58:ac:1e:00:01"
"""Made from that address, and given: a bridge that has none of its own takes the lowest of its ports', and another one when that
port goes. Every other node would send to the old one for most of a minute."""
PREFIX = "sampan-"
_TABLE = "ip sampan_machine"
_COMMENT = ["-m", "comment", "--comment", "sampan"]


class MachineError(Exception):
    """A command of the machine failed; says which, and what it wrote."""


def run(*command: str, check: bool = True, input: str | None = None) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, input=input)
    except FileNotFoundError as error:
        raise MachineError(f"{command[0]} is not installed") from error
    if check and done.returncode:
        raise MachineError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def require_tools(*tools: str) -> None:
    """Raises MachineError unless this is root and has all of them."""
    if os.geteuid() != 0:
        raise MachineError("needs root: network namespaces and nftables")
    for tool in tools:
        if shutil.which(tool) is None:
            raise MachineError(f"{tool} is not installed (Debian: iproute2, nftables, util-linux)")


def require_ports(*ports: int) -> None:
    """Raises MachineError where somebody listens already, or nobody could."""
    for port in ports:
        if not 0 < port < 65536:
            raise MachineError(f"{port} is no port: --port takes 1 to 65535, and what gRPC has (the next one) too")
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                attempt.bind(("0.0.0.0", port))
            except OSError as error:
                raise MachineError(f"port {port} cannot be had ({error.strerror}): --port takes another") from error


def own_address() -> str:
    """By which others reach this machine: the one that it would send to them from. Raises MachineError without a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
        try:
            question.connect(("192.0.2.1", 9))  # sends nothing; an address that nobody has (RFC 5737)
        except OSError as error:
            raise MachineError(f"this machine has no default route ({error.strerror}): --address is needed") from error
        return str(question.getsockname()[0])


def namespace(node: str) -> str:
    return PREFIX + node


def namespace_path(node: str) -> str:
    return f"/run/netns/{namespace(node)}"


def address(index: int) -> str:
    return f"172.30.0.{11 + index}"


def _exists(kind: str, name: str) -> bool:
    return Path(f"/sys/class/net/{name}" if kind == "link" else f"/run/netns/{name}").exists()


def ensure(nodes: Sequence[str]) -> None:
    """The bridge and each node's namespace. What exists is kept: pods of an earlier run go on."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    if not _exists("link", BRIDGE):
        run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "link", "set", BRIDGE, "address", BRIDGE_MAC)
    run("ip", "addr", "replace", f"{MACHINE}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    outside = f"ip saddr {NETWORK} ip daddr != {NETWORK} masquerade"
    script = (
        f"add table {_TABLE}\ndelete table {_TABLE}\nadd table {_TABLE}\n"
        f"add chain {_TABLE} postrouting {{ type nat hook postrouting priority srcnat ; }}\n"
        f"add rule {_TABLE} postrouting {outside}\n"
    )
    run("nft", "-f", "-", input=script)
    forward(BRIDGE)
    for index, node in enumerate(nodes):
        _ensure_node(index, node)


def forward(device: str) -> None:
    """What comes from this device or goes to it is forwarded, whatever dockerd thinks of it."""
    for rule in _forward_rules(device):
        if subprocess.run(["iptables", "-w", "-C", *rule], capture_output=True).returncode:
            run("iptables", "-w", "-I", *rule)


def stop_forwarding(device: str) -> None:
    for rule in _forward_rules(device):
        while not subprocess.run(["iptables", "-w", "-D", *rule], capture_output=True).returncode:
            pass


def _forward_rules(device: str) -> list[list[str]]:
    """None where there is no iptables: then dockerd has dropped nothing."""
    if shutil.which("iptables") is None:
        return []
    return [["FORWARD", flag, device, *_COMMENT, "-j", "ACCEPT"] for flag in ("-i", "-o")]


def _ensure_node(index: int, node: str) -> None:
    space, outer = namespace(node), f"sampan-h{index}"
    if not _exists("netns", space):
        run("ip", "netns", "add", space)
    if not _exists("link", outer):
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
    run("ip", "link", "set", outer, "master", BRIDGE, "up")
    inside = ("ip", "-n", space)
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "addr", "replace", f"{address(index)}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "replace", "default", "via", MACHINE)


def nodes() -> set[str]:
    """Those that have a namespace here, of whichever `up`."""
    return {path.name.removeprefix(PREFIX) for path in Path("/run/netns").glob(PREFIX + "node-*")}


def remove_nodes(names: Collection[str]) -> None:
    """Their namespaces; with each go its devices, of a pair both ends."""
    for name in sorted(names):
        run("ip", "netns", "del", namespace(name), check=False)


def remove() -> None:
    """Everything `ensure` made, whatever the number of nodes was; with the namespaces go their devices and rules."""
    for path in sorted(Path("/run/netns").glob(PREFIX + "*")):
        run("ip", "netns", "del", path.name, check=False)
    for path in sorted(Path("/sys/class/net").glob("sampan-h*")):
        run("ip", "link", "del", path.name, check=False)
    if _exists("link", BRIDGE):
        run("ip", "link", "del", BRIDGE)
    stop_forwarding(BRIDGE)
    run("nft", "-f", "-", input=f"add table {_TABLE}\ndelete table {_TABLE}\n")


def mounts_below(directory: Path) -> list[str]:
    """Deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [line.split()[4].replace("\\040", " ") for line in lines]
    return sorted((p for p in points if Path(p).is_relative_to(directory)), key=len, reverse=True)
