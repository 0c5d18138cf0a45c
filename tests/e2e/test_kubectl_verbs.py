"""The rarer verbs of unmodified kubectl, against a whole cluster."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sampan.cluster_layout import Layout
from sampan.cluster_pki import Identity, Pki
from tests.e2e.conftest import Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

IMAGE = "sampan/busybox:1"
SLEEPER = f"""
apiVersion: v1
kind: Pod
metadata: {{name: sleeper, labels: {{app: sleeper}}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: {IMAGE}
      command: [/bin/sh, -c, "echo begun; exec sleep 86400"]
"""


def deployment(replicas: int = 2, name: str = "app") -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - {{name: main, image: "{IMAGE}", command: [sleep, "86400"]}}
        - {{name: other, image: "{IMAGE}", command: [/bin/sh, -c, "echo other begun; exec sleep 86400"]}}
"""


def test_set_and_undo_to_a_revision(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=deployment(1))
    assert "scaled" in kubectl("scale", "deployment", "app", "--replicas=2", "--current-replicas=1")
    kubectl("set", "env", "deployment/app", "COLOUR=green")
    kubectl("set", "resources", "deployment/app", "--requests=cpu=1m")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    kubectl("rollout", "undo", "deployment/app", "--to-revision=1")
    assert "COLOUR" not in kubectl("get", "deployment", "app", "-o", "jsonpath={.spec}")
    kubectl("set", "image", "deployment/app", "main=sampan/nothing:0")
    assert "sampan/nothing:0" in kubectl("get", "deployment", "app", "-o", "jsonpath={.spec}")


def test_logs_of_the_container_before(kubectl: Kubectl) -> None:
    script = "echo this is a run; exit 3"
    kubectl("run", "crasher", f"--image={IMAGE}", "--command", "--", "sh", "-c", script)
    kubectl("wait", "pod/crasher", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
    assert kubectl("logs", "--previous", "crasher") == "this is a run\n"


def test_run_attached_expose_and_forward(kubectl: Kubectl) -> None:
    echo = ("run", "echo", f"--image={IMAGE}", "--restart=Never", "-i", "--rm", "--command", "--", "cat")
    assert "through and back" in kubectl(*echo, stdin="through and back\n")
    serve = "mkdir /www && echo served > /www/index.html && exec httpd -f -p 8080 -h /www"
    kubectl("run", "server", f"--image={IMAGE}", "--port=8080", "--command", "--", "sh", "-c", serve)
    kubectl("wait", "pod/server", "--for=condition=Ready", "--timeout=60s")
    assert "exposed" in kubectl("expose", "pod", "server", "--port=80", "--target-port=8080")
    with subprocess.Popen(
        kubectl.command("port-forward", "pod/server", ":8080"), stdout=subprocess.PIPE, text=True
    ) as forwarding:
        assert forwarding.stdout is not None
        try:
            found = re.search(r"127\.0\.0\.1:(\d+) ->", next(iter(forwarding.stdout)))
            assert found
            with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=10) as answer:
                assert answer.read() == b"served\n"
        finally:
            forwarding.kill()


def test_what_the_server_tells_of_itself(kubectl: Kubectl, tmp_path: Path) -> None:
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment", kubectl("api-resources"), re.M)
    assert {"v1", "apps/v1", "batch/v1"} <= set(kubectl("api-versions").split())
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy")
    assert "maxUnavailable" in kubectl("explain", "deployment.spec.strategy", "--recursive")
    assert "is running at" in kubectl("cluster-info")
    kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}", f"--output-directory={tmp_path}")
    assert json.loads((tmp_path / "nodes.json").read_text())["items"]
    assert "Server Version" in kubectl("version")
    minor = int(json.loads(kubectl("version", "-o", "json"))["clientVersion"]["minor"].rstrip("+"))
    if minor >= 28:
        assert "admin" in kubectl("auth", "whoami")
    assert "*.*" in kubectl("auth", "can-i", "--list")
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "node-1" in kubectl("top", "nodes")
    assert kubectl("get", "--raw=/readyz") == "ok"
    assert "DATA+OMITTED" in kubectl("config", "view")


def test_create_by_generators(kubectl: Kubectl) -> None:
    """From 1.32 on these bodies are protobuf."""
    unique = kubectl.namespace
    image = f"--image={IMAGE}"
    for words in [
        ("serviceaccount", "s"), ("secret", "generic", "s", "--from-literal=a=b"), ("configmap", "c"),
        ("service", "clusterip", "s", "--tcp=80"), ("service", "nodeport", "n", "--tcp=80"),
        ("role", "r", "--verb=get", "--resource=pods"), ("rolebinding", "r", "--role=r", "--user=u"),
        ("clusterrole", unique, "--verb=get", "--resource=pods"), ("quota", "q", "--hard=pods=9"),
        ("ingress", "i", "--rule=a.example/b=s:80"), ("poddisruptionbudget", "p", "--selector=a=b", "--min-available=1"),
        ("priorityclass", unique, "--value=7"), ("deployment", "d", image, "--replicas=0"),
        ("cronjob", "c", image, "--schedule=1 1 1 1 1", "--", "true"), ("job", "j", image, "--", "echo", "done"),
        ("namespace", f"{unique}-b"),
    ]:  # fmt: skip
        assert " created" in kubectl("create", *words), words
    assert kubectl("create", "token", "s").count(".") == 2
    kubectl("wait", "job/j", "--for=condition=Complete", "--timeout=60s")
    assert kubectl("logs", "job/j") == "done\n"
    autoscale = kubectl.command("autoscale", "deployment", "d", "--max=3")
    told = subprocess.run(autoscale, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and "no autoscaler runs here" in told.stderr
    assert "Completed" in kubectl("events", "--for=job/j")
    for words in [("clusterrole", unique), ("priorityclass", unique), ("namespace", f"{unique}-b")]:
        kubectl("delete", *words)


def test_kustomize_and_debug(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(SLEEPER)
    (tmp_path / "kustomization.yaml").write_text("resources: [pod.yaml]\nnamePrefix: my-\n")
    assert "pod/my-sleeper created" in kubectl("apply", "-k", str(tmp_path))
    kubectl("wait", "pod/my-sleeper", "--for=condition=Ready", "--timeout=60s")
    kubectl("debug", "my-sleeper", f"--image={IMAGE}", "-c", "look", "--", "echo", "looked")
    ended = "--for=jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    kubectl("wait", "pod/my-sleeper", ended, "--timeout=30s")
    assert kubectl("logs", "my-sleeper", "-c", "look") == "looked\n"


def test_cordon_taint_and_drain(kubectl: Kubectl) -> None:
    node = "node-3"
    kubectl("taint", "node", node, "a=b:NoSchedule")
    kubectl("taint", "node", node, "a=b:NoSchedule-")
    kubectl("create", "-f", "-", stdin=deployment(3))
    kubectl("create", "poddisruptionbudget", "p", "--selector=app=app", "--min-available=2")
    daemon = deployment(1, "daemon").replace("Deployment", "DaemonSet").replace("  replicas: 1\n", "")
    kubectl("create", "-f", "-", stdin=daemon)
    kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    kubectl("rollout", "status", "daemonset/daemon", "--timeout=60s")
    try:
        kubectl("cordon", node)
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        assert "DaemonSet-managed" in kubectl("drain", node, fails=True)
        drain = ("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=60s")
        assert "drained" in kubectl(*drain, "--pod-selector=app in (app,daemon)")
        left = kubectl(
            "get", "pods", "-o", "jsonpath={.items[*].metadata.labels.app}", f"--field-selector=spec.nodeName={node}"
        )
        assert left == "daemon"
    finally:
        kubectl("uncordon", node)
    kubectl("rollout", "status", "deployment/app", "--timeout=60s")


def test_nobody_gets_in_without_a_certificate_of_this_cluster(layout: Layout, tmp_path: Path) -> None:
    settings = layout.settings()
    assert settings
    server = f"https://127.0.0.1:{settings.port}"
    trust = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))
    for path in ("/api/v1/namespaces", "/api", "/apis", "/openapi/v3", "/openapi/v2", "/metrics"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(server + path, context=trust, timeout=10)
        assert refused.value.code == 401, path
    for path in ("/healthz", "/livez", "/readyz"):
        with urllib.request.urlopen(server + path, context=trust, timeout=10) as answer:
            assert answer.status == 200
    other = Pki(tmp_path, now=datetime.now(UTC))
    other.authority()
    stranger = Identity("admin", "admin", ("system:masters",))
    other.client(stranger)
    trust.load_cert_chain(tmp_path / "admin.crt", tmp_path / "admin.key")
    with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
        urllib.request.urlopen(server + "/api", context=trust, timeout=10).read()
