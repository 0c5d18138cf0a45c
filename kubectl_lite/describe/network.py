"""Services, Endpoints, EndpointSlices, Ingresses, NetworkPolicies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kubectl_lite.describe.lines import NONE, Lines, Object, events, metadata, selector_text
from kubectl_lite.durations import parse_time

Related = Mapping[str, Sequence[Object]]


def service(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec, status = Lines(), obj["spec"], obj.get("status", {})
    lines.head(obj)
    lines.pair("Selector", selector_text(spec.get("selector") or None))
    lines.pair("Type", spec.get("type", ""))
    if spec.get("ipFamilyPolicy"):
        lines.pair("IP Family Policy", spec["ipFamilyPolicy"])
    lines.pair("IP Families", ",".join(spec.get("ipFamilies") or []) or NONE)
    lines.pair("IP", spec.get("clusterIP", ""))
    lines.pair("IPs", ",".join(spec.get("clusterIPs") or []) or NONE)
    if spec.get("externalIPs"):
        lines.pair("External IPs", ",".join(spec["externalIPs"]))
    if spec.get("loadBalancerIP"):
        lines.pair("IP", spec["loadBalancerIP"])
    if spec.get("externalName"):
        lines.pair("External Name", spec["externalName"])
    ingress = (status.get("loadBalancer") or {}).get("ingress") or []
    if ingress:
        lines.pair("LoadBalancer Ingress", ", ".join(i.get("ip") or i.get("hostname", "") for i in ingress))
    for port in spec.get("ports") or []:
        name = port.get("name") or "<unset>"
        protocol = port.get("protocol", "TCP")
        lines.add(f"Port:\t{name}\t{port['port']}/{protocol}")
        target = port.get("targetPort", 0)
        lines.add(f"TargetPort:\t{target}/{protocol}")
        if port.get("nodePort"):
            lines.add(f"NodePort:\t{name}\t{port['nodePort']}/{protocol}")
        lines.pair("Endpoints", endpoints_text(related.get("endpointslices", []), port.get("name", "")))
    lines.pair("Session Affinity", spec.get("sessionAffinity", "None"))
    if spec.get("externalTrafficPolicy"):
        lines.pair("External Traffic Policy", spec["externalTrafficPolicy"])
    if spec.get("healthCheckNodePort"):
        lines.pair("HealthCheck NodePort", spec["healthCheckNodePort"])
    if spec.get("internalTrafficPolicy"):
        lines.pair("Internal Traffic Policy", spec["internalTrafficPolicy"])
    if spec.get("loadBalancerSourceRanges"):
        lines.pair("LoadBalancer Source Ranges", ",".join(spec["loadBalancerSourceRanges"]))
    events(lines, related.get("events"), now)
    return lines.text


def endpoints_text(slices: Sequence[Object], port_name: str) -> str:
    """The first three, and how many more."""
    found = []
    for one in slices:
        for port in one.get("ports") or []:
            if (port.get("name") or "") != port_name:
                continue
            for endpoint in one.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready", True):
                    found += [_joined(address, port.get("port")) for address in endpoint.get("addresses") or []]
    if not found:
        return ""
    return ",".join(found[:3]) + (f" + {len(found) - 3} more..." if len(found) > 3 else "")


def _joined(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def endpoints(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj)
    lines.add("Subsets:")
    for subset in obj.get("subsets") or []:
        for title, field in (("Addresses", "addresses"), ("NotReadyAddresses", "notReadyAddresses")):
            lines.pair(title, ",".join(a["ip"] for a in subset.get(field) or []) or NONE, 1)
        if subset.get("ports"):
            lines.add("Ports:", 1)
            rows = [[p.get("name") or "<unset>", p["port"], p.get("protocol", "TCP")] for p in subset["ports"]]
            lines.table(("Name", "Port", "Protocol"), rows, 2)
        lines.add("")
    events(lines, related.get("events"), now)
    return lines.text


def endpoint_slice(obj: Object, related: Related, now: datetime) -> list[str]:
    lines = Lines()
    lines.head(obj)
    lines.pair("AddressType", obj.get("addressType", ""))
    ports = obj.get("ports") or []
    lines.add("Ports:" + ("" if ports else " <unset>"))
    if ports:
        rows = [[p.get("name") or "<unset>", p.get("port", "<unset>"), p.get("protocol", "TCP")] for p in ports]
        lines.table(("Name", "Port", "Protocol"), rows)
    found = obj.get("endpoints") or []
    lines.add("Endpoints:" + ("" if found else f" {NONE}"))
    for endpoint in found:
        lines.pair("- Addresses", ", ".join(endpoint.get("addresses") or []), 1)
        ready = (endpoint.get("conditions") or {}).get("ready")
        lines.add("Conditions:", 2)
        lines.pair("Ready", "<unset>" if ready is None else str(ready).lower(), 3)
        lines.pair("Hostname", endpoint.get("hostname") or "<unset>", 2)
        if ref := endpoint.get("targetRef"):
            lines.pair("TargetRef", f"{ref.get('kind')}/{ref.get('name')}", 2)
        lines.pair("NodeName", endpoint.get("nodeName") or "<unset>", 2)
        lines.pair("Zone", endpoint.get("zone") or "<unset>", 2)
    events(lines, related.get("events"), now)
    return lines.text


def ingress(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec = Lines(), obj.get("spec", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.map("Labels", metadata(obj).get("labels"))
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    found = (obj.get("status", {}).get("loadBalancer") or {}).get("ingress") or []
    lines.pair("Address", ",".join(i.get("ip") or i.get("hostname", "") for i in found))
    lines.pair("Ingress Class", spec.get("ingressClassName") or NONE)
    default = spec.get("defaultBackend")
    lines.pair("Default backend", _backend(default) if default else "<default>")
    if spec.get("tls"):
        lines.add("TLS:")
        for tls in spec["tls"]:
            hosts = ",".join(tls.get("hosts") or [])
            secret = tls.get("secretName")
            lines.add(f"{secret} terminates {hosts}" if secret else f"SNI routes {hosts}", 1)
    lines.add("Rules:")
    lines.add("Host\tPath\tBackends", 1)
    lines.add("----\t----\t--------", 1)
    for rule in spec.get("rules") or []:
        lines.add(f"{rule.get('host') or '*'}\t", 1)
        for path in (rule.get("http") or {}).get("paths") or []:
            backend = path.get("backend", {})
            lines.add(f"\t{path.get('path', '')} \t{_backend(backend)}{_behind(backend, related)}", 1)
    if not spec.get("rules"):
        lines.add(f"*\t*\t{_backend(default) if default else '<default>'}", 1)
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    events(lines, related.get("events"), now)
    return lines.text


def _behind(backend: Object, related: Related) -> str:
    """The pods' addresses behind the backend's service."""
    wanted = backend.get("service")
    if not wanted:
        return ""
    services = [s for s in related.get("services", []) if metadata(s)["name"] == wanted.get("name")]
    if not services:
        return f' (<error: services "{wanted.get("name", "")}" not found>)'
    port = wanted.get("port") or {}
    ports = services[0].get("spec", {}).get("ports") or []
    names = [
        p.get("name", "") for p in ports if port.get("name", "") == p.get("name") or port.get("number") == p["port"]
    ]
    label = "kubernetes.io/service-name"
    slices = [
        s
        for s in related.get("endpointslices", [])
        if (metadata(s).get("labels") or {}).get(label) == wanted.get("name")
    ]
    return f" ({endpoints_text(slices, names[0]) if names else ''})"


def _backend(backend: Object) -> str:
    if found := backend.get("service"):
        port = found.get("port") or {}
        return f"{found['name']}:{port.get('name') or port.get('number', '')}"
    ref = backend.get("resource") or {}
    return f"APIGroup: {ref.get('apiGroup', '')}, Kind: {ref.get('kind', '')}, Name: {ref.get('name', '')}"


def network_policy(obj: Object, related: Related, now: datetime) -> list[str]:
    lines, spec = Lines(), obj.get("spec", {})
    lines.pair("Name", metadata(obj)["name"])
    lines.pair("Namespace", metadata(obj).get("namespace", ""))
    made = parse_time(metadata(obj).get("creationTimestamp", ""))
    lines.pair("Created on", f"{made.astimezone():%Y-%m-%d %H:%M:%S %z %Z}" if made else "")
    lines.map("Labels", metadata(obj).get("labels"))
    lines.annotations("Annotations", metadata(obj).get("annotations"))
    lines.add("Spec:")
    selector = spec.get("podSelector") or {}
    every = "<none> (Allowing the specific traffic to all pods in this namespace)"
    lines.add(f"PodSelector:     {selector_text(selector) if selector else every}", 1)
    types = spec.get("policyTypes") or []
    for title, field, peers in (("ingress", "ingress", "from"), ("egress", "egress", "to")):
        if title.capitalize() not in types:
            lines.add(f"Not affecting {title} traffic", 1)
            continue
        lines.add(f"Allowing {title} traffic:", 1)
        rules = spec.get(field) or []
        if not rules:
            lines.add(f"<none> (Selected pods are isolated for {title} connectivity)", 2)
        for number, rule in enumerate(rules):
            if number:
                lines.add("----------", 2)
            _policy_rule(lines, rule, peers)
    lines.add(f"Policy Types: {', '.join(types)}", 1)
    return lines.text


def _policy_rule(lines: Lines, rule: Object, peers: str) -> None:
    for port in rule.get("ports") or []:
        lines.add(f"To Port: {port.get('port', '<any>')}/{port.get('protocol', 'TCP')}", 2)
    if not rule.get("ports"):
        lines.add("To Port: <any> (traffic allowed to all ports)", 2)
    title = peers.capitalize()
    if not rule.get(peers):
        lines.add(f"{title}: <any> (traffic not restricted by {'source' if peers == 'from' else 'destination'})", 2)
    for peer in rule.get(peers) or []:
        lines.add(f"{title}:", 2)
        if block := peer.get("ipBlock"):
            lines.add("IPBlock:", 3)
            lines.add(f"CIDR: {block.get('cidr', '')}", 4)
            lines.add(f"Except: {', '.join(block.get('except') or [])}", 4)
        for name in ("namespaceSelector", "podSelector"):
            if name in peer:
                lines.add(f"{name[0].upper()}{name[1:]}: {selector_text(peer[name])}", 3)
