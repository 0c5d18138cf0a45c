"""The official Python client: exec and port-forward over WebSocket channels. In a process of its own: it closes nothing."""

import asyncio
import json
import sys
from typing import Any

import pytest
import pytest_asyncio

from tests.support.docker_cluster import DockerCluster, shell

pytestmark = [pytest.mark.docker, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(60)]

BEFORE = """
import json, sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream
api = client.CoreV1Api(config.new_client_from_config(sys.argv[1]))
"""
# The shell stays until its line was read: readline_stdout forgets a line that comes in one batch with the end.
EXEC = """
command = ["sh", "-c", "read a; echo heard $a; read b; exit 3"]
words = {"stderr": True, "stdout": True, "stdin": True, "tty": False, "_preload_content": False}
shell = stream(api.connect_get_namespaced_pod_exec, "web", "default", command=command, **words)
shell.write_stdin("you\\n")
line = shell.readline_stdout(timeout=10)
shell.write_stdin("bye\\n")
shell.run_forever(timeout=10)
print(json.dumps([line, shell.returncode]))
"""
FORWARD = """
port = int(sys.argv[2])
forward = portforward(api.connect_get_namespaced_pod_portforward, "web", "default", ports=str(port))
socket, found = forward.socket(port), b""
socket.settimeout(10)
socket.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
while data := socket.recv(4096):
    found += data
print(json.dumps([found.decode(), forward.error(port)]))
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def web(cluster: DockerCluster) -> None:
    await cluster.run("web", shell("mkdir /www; echo page > /www/index.html; httpd -p 8080 -h /www; sleep 1000"))


async def answer(cluster: DockerCluster, script: str, *words: str) -> Any:
    pipe = asyncio.subprocess.PIPE
    argv = [sys.executable, "-c", BEFORE + script, str(cluster.config), *words]
    process = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out)


async def test_exec(cluster: DockerCluster) -> None:
    assert await answer(cluster, EXEC) == ["heard you", 3]


async def test_port_forward(cluster: DockerCluster) -> None:
    found, error = await answer(cluster, FORWARD, "8080")
    assert found.endswith("page\n") and error is None


async def test_a_refused_port(cluster: DockerCluster) -> None:
    found, error = await answer(cluster, FORWARD, "7")
    assert found == "" and "refused" in error
