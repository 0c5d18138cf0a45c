"""The proxy subresource: a real server in a real container, reached through API server and node agent."""

import asyncio
import json
import ssl
from pathlib import Path

import pytest
import pytest_asyncio
from msgspec.structs import replace

from kubeapi.types.core_v1 import (
    ContainerPort,
    EndpointAddress,
    EndpointPort,
    Endpoints,
    EndpointSubset,
    ObjectReference,
    Service,
    ServicePort,
    ServiceSpec,
)
from kubeapi.types.meta_v1 import ObjectMeta
from tests.support.docker_cluster import DockerCluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
SERVER = r"""
mkdir -p /www/cgi-bin /www/dir
echo hello > /www/index.html
dd if=/dev/zero of=/www/large bs=1M count=20 2>/dev/null
cat > /www/cgi-bin/show <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
echo "$REQUEST_METHOD $QUERY_STRING auth=$HTTP_AUTHORIZATION"
[ "$REQUEST_METHOD" = POST ] && head -c "$CONTENT_LENGTH"
exit 0
END
cat > /www/cgi-bin/moved <<'END'
#!/bin/sh
printf 'Status: 302 Found\r\nLocation: /elsewhere?x=1\r\n\r\n'
END
chmod +x /www/cgi-bin/*
nc -ll -p 9000 -e sh -c 'printf "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"; exec cat' &
nc -ll -p 9001 -e sh -c 'printf "no HTTP at all\n\n"' &
httpd -p 8080 -h /www
sleep 1000
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def web(cluster: DockerCluster) -> None:
    pod = await cluster.run("web", shell(SERVER, ports=[ContainerPort(name="http", container_port=8080)]))
    meta = ObjectMeta(name="site", namespace="default")
    ports = [ServicePort(name="http", port=80), ServicePort(name="none", port=81)]
    await cluster.client.create(Service(metadata=meta, spec=ServiceSpec(ports=ports)))
    reference = ObjectReference(kind="Pod", name="web", namespace="default")
    address = EndpointAddress(ip=pod.status.pod_ip, target_ref=reference)
    subset = EndpointSubset(addresses=[address], ports=[EndpointPort(name="http", port=8080)])
    await cluster.client.create(Endpoints(metadata=meta, subsets=[subset]))
    forged = replace(subset, addresses=[replace(address, ip="127.0.0.1")])
    meta = ObjectMeta(name="forged", namespace="default")
    await cluster.client.create(Service(metadata=meta, spec=ServiceSpec(ports=ports)))
    await cluster.client.create(Endpoints(metadata=meta, subsets=[forged]))
    async with asyncio.timeout(10):
        while (await ask(cluster, f"{PODS}/web/proxy/cgi-bin/moved"))[0] != 302:  # noqa: ASYNC110 - as a user would
            await asyncio.sleep(0.05)


async def ask(
    cluster: DockerCluster, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Over a connection of its own; the body to its end."""
    reader, writer = await connect(cluster)
    lines = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    found = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
    text = b""
    if found.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            text += await reader.readexactly(size)
            await reader.readline()
    else:
        text = await reader.readexactly(int(found.get("content-length", 0))) if method != "HEAD" else b""
    writer.transport.abort()
    return int(head[0].split()[1]), found, text


async def connect(cluster: DockerCluster) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context = ssl.create_default_context(cadata=cluster.ca.cert.decode())
    directory = cluster.config.parent
    context.load_cert_chain(directory / "apiserver.crt", directory / "apiserver.key")
    return await asyncio.open_connection("127.0.0.1", cluster.server.port, ssl=context)


@pytest.mark.parametrize(
    "what", [f"{PODS}/web", f"{PODS}/web:8080", f"{PODS}/http:web:http", f"{SERVICES}/site:http", f"{SERVICES}/site:80"]
)
async def test_get_by_every_name(cluster: DockerCluster, what: str) -> None:
    status, _, body = await ask(cluster, f"{what}/proxy/index.html")
    assert (status, body) == (200, b"hello\n")
    assert (await ask(cluster, f"{what}/proxy/"))[2] == b"hello\n"


async def test_kubectl_get_raw(cluster: DockerCluster, kubectl: Path) -> None:
    done = await cluster.kubectl(kubectl, "get", "--raw", f"{SERVICES}/site:http/proxy/index.html")
    assert (done.code, done.text) == (0, "hello\n"), done.complaint


async def test_method_query_and_body_arrive_and_credentials_do_not(cluster: DockerCluster) -> None:
    path = f"{PODS}/web/proxy/cgi-bin/show?a=%20b&c"
    assert (await ask(cluster, path, Authorization="Basic c2VjcmV0"))[2] == b"GET a=%20b&c auth=\n"
    assert (await ask(cluster, path, "POST", b"the body"))[2] == b"POST a=%20b&c auth=\nthe body"
    assert (await ask(cluster, f"{PODS}/web/proxy/index.html", "HEAD"))[0] == 200


async def test_a_large_answer_is_whole(cluster: DockerCluster) -> None:
    assert (await ask(cluster, f"{PODS}/web/proxy/large"))[2] == bytes(20 << 20)


async def test_a_redirect_leads_back_through_the_proxy(cluster: DockerCluster) -> None:
    status, headers, _ = await ask(cluster, f"{PODS}/web/proxy/cgi-bin/moved")
    assert (status, headers["location"]) == (302, f"{PODS}/web/proxy/elsewhere?x=1")


async def test_an_upgrade_becomes_a_pipe(cluster: DockerCluster) -> None:
    reader, writer = await connect(cluster)
    head = f"GET {PODS}/web:9000/proxy/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
    writer.write(head.encode())
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
    await reader.readuntil(b"\r\n\r\n")  # cat repeats the request's own head
    writer.write(b"ping")
    assert await reader.readexactly(4) == b"ping"
    writer.transport.abort()


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        (f"{PODS}/nobody/proxy/", 404, 'pods "nobody" not found'),
        (f"{PODS}/web:7/proxy/", 503, "refused"),
        (f"{PODS}/web:nope/proxy/", 503, 'no port named "nope"'),
        (f"{PODS}/https:web:8080/proxy/", 400, "not HTTPS"),
        (f"{PODS}/a:b:c:d/proxy/", 400, "no valid name"),
        (f"{PODS}/web:9001/proxy/", 503, "not HTTP"),
        (f"{SERVICES}/site/proxy/", 503, "no such port"),
        (f"{SERVICES}/site:none/proxy/", 503, 'no endpoints available for service "site"'),
        (f"{SERVICES}/nosite/proxy/", 404, "not found"),
        (f"{SERVICES}/forged:http/proxy/", 503, "127.0.0.1 is not that of pod web"),
        ("/api/v1/nodes/n1/proxy/configz", 404, "only /healthz"),
        ("/api/v1/nodes/n9/proxy/healthz", 404, "not found"),
    ],
)
async def test_what_cannot_be_reached_is_told(cluster: DockerCluster, path: str, status: int, text: str) -> None:
    code, _, body = await ask(cluster, path)
    assert code == status
    assert text in json.loads(body)["message"]


async def test_the_node_tells_its_health_and_its_use(cluster: DockerCluster) -> None:
    assert (await ask(cluster, "/api/v1/nodes/n1/proxy/healthz"))[2] == b"ok"
    summary = json.loads((await ask(cluster, "/api/v1/nodes/n1/proxy/stats/summary"))[2])
    assert summary["node"]["nodeName"] == "n1"
    assert "web" in [pod["podRef"]["name"] for pod in summary["pods"]]
