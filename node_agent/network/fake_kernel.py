"""The same kernel in memory. `dump()` prints all state as sorted lines, the way one would type it for ip and
nft.
"""

from collections.abc import Collection, Sequence

from node_agent.network.errors import NetworkError
from node_agent.network.kernel import Flow, Link, Route


class FakeKernel:
    def __init__(self) -> None:
        self._links: dict[str, Link] = {}
        self._kinds: dict[str, str] = {}
        self._addresses: set[tuple[str, str]] = set()
        self._neighbours: dict[tuple[str, str], str] = {}
        self._forwardings: dict[tuple[str, str], str] = {}
        self._routes: dict[tuple[str, str], Route] = {}
        self.pods: dict[int, str] = {}
        """What is configured in each process's namespace: address; "" for a namespace without eth0."""
        self._pod_links: dict[int, str] = {}
        self.sysctls: dict[str, str] = {}
        self.flows: set[Flow] = set()
        """What connection tracking remembers of UDP."""
        self.tables: set[str] = set()
        self.scripts: list[str] = []
        """Each nft transaction, in order."""

    def dump(self) -> str:
        lines = [f"link {name} {self._kinds[name]} {link.alias}".rstrip() for name, link in self._links.items()]
        lines += [f"addr {address} dev {device}" for device, address in self._addresses]
        lines += [
            f"route {r.destination} via {r.via} dev {r.device}{' onlink' if r.onlink else ''}"
            for r in self._routes.values()
        ]
        lines += [f"neigh {ip} lladdr {mac} dev {device}" for (device, ip), mac in self._neighbours.items()]
        lines += [f"fdb {mac} dst {outer} dev {device}" for (device, mac), outer in self._forwardings.items()]
        return "\n".join(sorted(lines))

    def end_process(self, pid: int) -> None:
        """The kernel drops a namespace with its last process, and with it both ends of its veth pair."""
        self.pods.pop(pid, None)
        if name := self._pod_links.pop(pid, None):
            self.delete_link(name)

    def links(self) -> Sequence[Link]:
        return list(self._links.values())

    def has_link(self, name: str) -> bool:
        return name in self._links

    def _need(self, device: str) -> None:
        if device not in self._links:
            raise NetworkError(f"no network device {device}")

    def ensure_bridge(self, name: str, *, mac: str, mtu: int) -> None:
        self._links[name] = Link(name=name, mac=mac, mtu=mtu, up=True)
        self._kinds[name] = "bridge"

    def ensure_vxlan(self, name: str, *, vni: int, port: int, local: str, mac: str, mtu: int) -> None:
        self._links[name] = Link(name=name, mac=mac, mtu=mtu, up=True)
        self._kinds[name] = f"vxlan id {vni} local {local} dstport {port}"

    def add_pod_link(self, name: str, *, pid: int, mtu: int, master: str, alias: str) -> None:
        self._need(master)
        if name in self._links:
            raise NetworkError(f"{name} exists")
        if pid not in self.pods:
            raise NetworkError(f"process {pid} is gone")
        self._links[name] = Link(name=name, mtu=mtu, up=True, alias=alias)
        self._kinds[name] = f"veth master {master}"
        self._pod_links[pid] = name

    def configure_pod(self, pid: int, *, address: str, mac: str, gateway: str) -> None:
        if pid not in self._pod_links:
            raise NetworkError(f"cannot configure the namespace of process {pid}: no eth0")
        self.pods[pid] = address

    def pod_address(self, pid: int) -> str | None:
        if pid not in self.pods:
            raise NetworkError(f"process {pid} is gone")
        return self.pods[pid] or None

    def delete_link(self, name: str) -> None:
        self._links.pop(name, None)
        self._kinds.pop(name, None)
        for pid, link in list(self._pod_links.items()):
            if link == name:
                del self._pod_links[pid]
                self.pods[pid] = ""
        self._addresses = {item for item in self._addresses if item[0] != name}
        self._neighbours = {key: value for key, value in self._neighbours.items() if key[0] != name}
        self._forwardings = {key: value for key, value in self._forwardings.items() if key[0] != name}
        self._routes = {key: value for key, value in self._routes.items() if key[0] != name}

    def set_alias(self, name: str, alias: str) -> None:
        self._need(name)
        old = self._links[name]
        self._links[name] = Link(name=name, mac=old.mac, mtu=old.mtu, up=old.up, alias=alias)

    def ensure_addresses(self, device: str, addresses: Collection[str]) -> None:
        self._need(device)
        self._addresses = {item for item in self._addresses if item[0] != device}
        self._addresses |= {(device, address) for address in addresses}

    def neighbours(self, device: str) -> dict[str, str]:
        return {ip: mac for (name, ip), mac in self._neighbours.items() if name == device}

    def ensure_neighbour(self, device: str, ip: str, mac: str) -> None:
        self._need(device)
        self._neighbours[device, ip] = mac

    def delete_neighbour(self, device: str, ip: str) -> None:
        self._neighbours.pop((device, ip), None)

    def forwardings(self, device: str) -> dict[str, str]:
        return {mac: outer for (name, mac), outer in self._forwardings.items() if name == device}

    def ensure_forwarding(self, device: str, mac: str, outer: str) -> None:
        self._need(device)
        self._forwardings[device, mac] = outer

    def delete_forwarding(self, device: str, mac: str, outer: str) -> None:
        self._forwardings.pop((device, mac), None)

    def routes(self, device: str) -> Sequence[Route]:
        return sorted(route for (name, _), route in self._routes.items() if name == device)

    def ensure_route(self, route: Route) -> None:
        self._need(route.device)
        if any(address.partition("/")[0] == route.via for _, address in self._addresses):
            raise NetworkError(f"Nexthop has invalid gateway: {route.via} is our own")
        self._routes[route.device, route.destination] = route

    def delete_route(self, route: Route) -> None:
        self._routes.pop((route.device, route.destination), None)

    def set_sysctl(self, name: str, value: str) -> None:
        self.sysctls[name] = value

    def nft(self, script: str) -> None:
        self.scripts.append(script)
        for line in script.splitlines():
            verb, _, rest = line.partition(" table ")
            if verb == "add":
                self.tables.add(rest)
            elif verb == "delete":
                self.tables.discard(rest)

    def has_chain(self, table: str, chain: str) -> bool:
        return table in self.tables

    def udp_flows(self) -> Sequence[Flow]:
        return list(self.flows)

    def delete_flow(self, flow: Flow) -> None:
        self.flows.discard(flow)
