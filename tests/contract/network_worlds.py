"""Two nodes for the network's contract: on fake kernels, and in network namespaces of this machine."""

import subprocess

from node_agent.network.fake_kernel import FakeKernel
from node_agent.network.kernel import Kernel, NetlinkKernel

CIDRS = ["10.244.1.0/24", "10.244.2.0/24"]
ADDRESSES = ["172.31.77.11", "172.31.77.12"]


def sh(command: str, *, check: bool = True) -> str:
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20)
    if check and done.returncode:
        raise AssertionError(f"{command}: {done.stderr}")
    return done.stdout


class FakeWorld:
    def __init__(self) -> None:
        self.kernels = [FakeKernel(), FakeKernel()]
        self._pids = 100

    def kernel(self, node: int) -> Kernel:
        return self.kernels[node]

    def process(self, node: int) -> int:
        self._pids += 1
        self.kernels[node].pods[self._pids] = ""
        return self._pids

    def end(self, node: int, pid: int) -> None:
        self.kernels[node].end_process(pid)

    def close(self) -> None: ...


class LinuxWorld:
    """Two node namespaces joined by a veth pair; pods are sleeping processes in namespaces of their own."""

    def __init__(self) -> None:
        self.nodes = ["sampant-a", "sampant-b"]
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._clean()
        for node in self.nodes:
            sh(f"ip netns add {node}")
        sh("ip link add up0 netns sampant-a type veth peer name up0 netns sampant-b")
        for node, address in zip(self.nodes, ADDRESSES, strict=True):
            sh(f"ip -n {node} addr add {address}/24 dev up0 && ip -n {node} link set up0 up")
            sh(f"ip -n {node} link set lo up")
            sh(f"ip -n {node} route add default dev up0")

    def _clean(self) -> None:
        for node in self.nodes:
            sh(f"ip netns del {node}", check=False)

    def kernel(self, node: int) -> Kernel:
        return NetlinkKernel(f"/run/netns/{self.nodes[node]}")

    def process(self, node: int) -> int:
        process = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.read(1)
        self._processes[process.pid] = process
        return process.pid

    def end(self, node: int, pid: int) -> None:
        process = self._processes.pop(pid)
        process.kill()
        process.communicate()

    def close(self) -> None:
        for pid in list(self._processes):
            self.end(0, pid)
        self._clean()

    def inside(self, pid: int, command: str) -> str:
        return sh(f"nsenter --net=/proc/{pid}/ns/net {command}")

    def serve(self, pid: int, text: str, port: int = 8080) -> None:
        command = [
            "nsenter",
            f"--net=/proc/{pid}/ns/net",
            "busybox",
            "nc",
            "-ll",
            "-p",
            str(port),
            "-e",
            "echo",
            text,
        ]
        process = subprocess.Popen(command)
        self._processes[process.pid] = process
        self.inside(pid, f"sh -c 'until busybox nc -w 1 127.0.0.1 {port} </dev/null; do :; done'")
