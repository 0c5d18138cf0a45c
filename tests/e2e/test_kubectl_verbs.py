"""Unmodified kubectl, of every version that is here, against a whole cluster: what its users type, verb by verb."""

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
from tests.e2e.conftest import MANIFESTS, Kubectl

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


def replicas(kubectl: Kubectl, name: str = "app") -> str:
    return kubectl("get", "deployment", name, "-o", "jsonpath={.spec.replicas}")


def test_get_prints_every_form(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    template = tmp_path / "path"
    template.write_text("{.items[0].metadata.name}")
    assert json.loads(kubectl("get", "pods", "-o", "json"))["items"][0]["metadata"]["name"] == "sleeper"
    assert "kind: Pod" in kubectl("get", "pod", "sleeper", "-o", "yaml")
    assert re.search(r"sleeper +1/1 +Running +0 +\d+s +10\.244\.\d+\.\d+ +node-\d", kubectl("get", "pods", "-o", "wide"))
    assert kubectl("get", "pods", "-o", "name") == "pod/sleeper\n"
    assert kubectl("get", "pods", "-o", f"jsonpath-file={template}") == "sleeper"
    assert kubectl("get", "pods", "-o", "custom-columns=N:.metadata.name").split() == ["N", "sleeper"]
    assert kubectl("get", "pods", "-o", "go-template={{range .items}}{{.metadata.name}}{{end}}") == "sleeper"
    assert "app=sleeper" in kubectl("get", "pods", "--show-labels")
    assert "sleeper" in kubectl("get", "pods", "--sort-by=.metadata.name", "-l", "app in (sleeper)")
    assert "sleeper" in kubectl("get", "pods", "-A", "--field-selector=status.phase=Running,metadata.name=sleeper")
    assert kubectl("get", "pods", "-l", "app!=sleeper", "-o", "name") == ""
    assert 'pods "nothing" not found' in kubectl("get", "pod", "nothing", fails=True)


def test_get_watches(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    command = kubectl.command("get", "pods", "-w", "--output-watch-events")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            lines = iter(watching.stdout)
            next(line for line in lines if line.startswith("ADDED"))
            kubectl("label", "pod", "sleeper", "seen=yes")
            next(line for line in lines if line.startswith("MODIFIED"))
            kubectl("delete", "pod", "sleeper")
            next(line for line in lines if line.startswith("DELETED"))
        finally:
            watching.kill()


def test_apply_diff_and_describe_the_demo(kubectl: Kubectl, tmp_path: Path) -> None:
    for source in MANIFESTS.iterdir():  # a node port is one for the whole cluster: let it be chosen
        (tmp_path / source.name).write_text(source.read_text().replace(", nodePort: 30080", ""))
    folder = ("-f", str(tmp_path))
    assert kubectl("apply", *folder).count(" created") == 6
    again = dict(line.split(" ", 1) for line in kubectl("apply", *folder).splitlines())
    changed = [name for name, what in again.items() if what != "unchanged"]
    assert set(changed) <= {"secret/web-secret", "pod/writer"}, again  # stringData is never seen again: as everywhere
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("diff", *folder) == ""
    web = tmp_path / "20-web.yaml"
    web.write_text(web.read_text().replace("replicas: 6", "replicas: 3"))
    assert "+  replicas: 3" in subprocess.run(kubectl.command("diff", *folder), capture_output=True, text=True).stdout
    assert "deployment.apps/web configured" in kubectl("apply", *folder)
    assert "Scaled up replica set" in kubectl("describe", "deployment", "web")
    told = kubectl("describe", "pod", "writer")
    assert "Successfully assigned" in told and "Started container writer" in told
    assert "PodCIDR:" in kubectl("describe", "node", "node-1")
    assert re.search(r"Endpoints: +10\.244", kubectl("describe", "service", "web"))
    assert "Used By:       writer" in kubectl("describe", "pvc", "data")
    volume = kubectl("get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}")
    assert "local-path" in kubectl("describe", "pv", volume)
    assert "hello from a config map" in kubectl("describe", "configmap", "web-config")
    assert "password:  13 bytes" in kubectl("describe", "secret", "web-secret")
    assert "Active" in kubectl("describe", "namespace", kubectl.namespace)
    kubectl("delete", *folder, "--wait=false")


def test_patch_edit_and_replace(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=deployment(1))
    assert "AlreadyExists" in kubectl("create", "-f", "-", stdin=deployment(1), fails=True)
    kubectl("patch", "deployment", "app", "--type=json", '-p=[{"op": "replace", "path": "/spec/replicas", "value": 2}]')
    assert replicas(kubectl) == "2"
    kubectl("patch", "deployment", "app", "--type=merge", '-p={"spec": {"replicas": 3}}')
    assert replicas(kubectl) == "3"
    environment = {"name": "main", "env": [{"name": "A", "value": "b"}]}
    patch = json.dumps({"spec": {"template": {"spec": {"containers": [environment]}}}})
    kubectl("patch", "deployment", "app", "--type=strategic", "-p", patch)
    names = kubectl("get", "deployment", "app", "-o", "jsonpath={.spec.template.spec.containers[*].name}")
    assert names == "main other"
    kubectl("edit", "deployment", "app", KUBE_EDITOR="sed -i s/replicas:.3/replicas:.1/")
    assert replicas(kubectl) == "1"
    kubectl("replace", "-f", "-", stdin=deployment(0))
    assert replicas(kubectl) == "0"
    broken = deployment(1).replace("image:", "imagge:")
    assert "unknown field" in kubectl("apply", "-f", "-", stdin=broken.replace("name: app}", "name: b}"), fails=True)


def test_scale_and_rollout(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=deployment(1))
    kubectl("scale", "deployment", "app", "--replicas=2", "--current-replicas=1")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    kubectl("set", "env", "deployment/app", "COLOUR=green")
    kubectl("set", "resources", "deployment/app", "--requests=cpu=1m")
    kubectl("set", "image", "deployment/app", f"main={IMAGE}", "--record=false")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    assert len(re.findall(r"^\d+ ", kubectl("rollout", "history", "deployment/app"), re.M)) == 3
    assert "COLOUR" not in kubectl("rollout", "history", "deployment/app", "--revision=1")
    kubectl("rollout", "undo", "deployment/app", "--to-revision=1")
    assert "COLOUR" not in kubectl("get", "deployment", "app", "-o", "yaml")
    kubectl("rollout", "pause", "deployment/app")
    kubectl("rollout", "restart", "deployment/app", fails=True)
    kubectl("rollout", "resume", "deployment/app")
    kubectl("rollout", "restart", "deployment/app")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/app", "--timeout=60s")


def test_logs(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=deployment(2))
    kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    assert kubectl("logs", "-l", "app=app", "--all-containers", "--prefix").count("other begun") == 2
    assert kubectl("logs", "deployment/app", "-c", "other") == "other begun\n"
    counting = "for i in 1 2 3; do echo line $i; sleep 0.2; done"
    kubectl("run", "counter", f"--image={IMAGE}", "--restart=Never", "--command", "--", "sh", "-c", counting)
    kubectl("wait", "pod/counter", "--for=jsonpath={.spec.nodeName}", "--timeout=20s") if kubectl.at_least(31) else None
    kubectl("wait", "pod/counter", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=30s")
    assert kubectl("logs", "-f", "counter") == "line 1\nline 2\nline 3\n"
    assert kubectl("logs", "--tail=1", "counter") == "line 3\n"
    kubectl("run", "crasher", f"--image={IMAGE}", "--command", "--", "sh", "-c", "echo run; test -e /x || exit 3")
    kubectl("wait", "pod/crasher", "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=40s")
    assert kubectl("logs", "--previous", "crasher") == "run\n"


def test_exec_copy_attach_and_forward(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    kubectl("wait", "pod/sleeper", "--for=condition=Ready", "--timeout=60s")
    assert kubectl("exec", "-i", "sleeper", "--", "cat", stdin="through and back") == "through and back"
    assert "exit code 7" in kubectl("exec", "sleeper", "--", "sh", "-c", "exit 7", fails=True)
    shown, code = kubectl.typed("exec", "-it", "sleeper", "--", "sh", lines=[("#", "tty && exit 5")])
    assert "/dev/pts/" in shown and code == 5, shown
    here = tmp_path / "here"
    here.write_text("copied\n")
    back = tmp_path / "back"
    if kubectl("exec", "sleeper", "--", "sh", "-c", "command -v tar || true"):
        kubectl("cp", str(here), "sleeper:/tmp/there")
        kubectl("cp", "sleeper:/tmp/there", str(back))
        assert back.read_text() == "copied\n"
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


def test_delete_in_its_kinds(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=deployment(1))
    kubectl("rollout", "status", "deployment/app", "--timeout=60s")
    kubectl("delete", "deployment", "app", "--cascade=orphan")
    assert kubectl("get", "replicasets", "-o", "name").startswith("replicaset.apps/app-")
    kubectl("delete", "replicasets", "-l", "app=app", "--cascade=foreground")
    assert kubectl("get", "pods", "-o", "name") == ""
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    kubectl("delete", "pod", "sleeper", "--grace-period=0", "--force")
    kubectl("apply", "-f", "-", stdin=SLEEPER)
    kubectl("delete", "pod", "sleeper", "--wait=false", "--grace-period=1")
    kubectl("wait", "pod/sleeper", "--for=delete", "--timeout=30s")


def test_label_annotate_and_wait(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    assert "labeled" in kubectl("label", "configmap", "c", "x=1")
    assert "already has a value" in kubectl("label", "configmap", "c", "x=2", fails=True)
    kubectl("label", "configmap", "c", "x=2", "--overwrite")
    kubectl("label", "configmap", "c", "x-")
    kubectl("annotate", "configmap", "c", "note=hello there")
    assert kubectl("get", "configmap", "c", "-o", "jsonpath={.metadata.annotations.note}") == "hello there"
    kubectl("wait", "configmap/c", "--for=jsonpath={.data.a}=b", "--timeout=5s")
    assert "timed out" in kubectl("wait", "configmap/c", "--for=jsonpath={.data.a}=c", "--timeout=1s", fails=True)


def test_what_the_server_tells_of_itself(kubectl: Kubectl, tmp_path: Path) -> None:
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment", kubectl("api-resources"), re.M)
    assert {"v1", "apps/v1", "batch/v1"} <= set(kubectl("api-versions").split())
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy")
    assert "maxUnavailable" in kubectl("explain", "deployment.spec.strategy", "--recursive")
    assert "is running at" in kubectl("cluster-info")
    kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}", f"--output-directory={tmp_path}")
    assert json.loads((tmp_path / "nodes.json").read_text())["items"]
    assert "Server Version" in kubectl("version")
    assert "admin" in kubectl("auth", "whoami") if kubectl.at_least(28) else True
    assert "*.*" in kubectl("auth", "can-i", "--list")
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "Metrics API not available" in kubectl("top", "nodes", fails=True)
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
    assert "no autoscaler runs here" in kubectl.warnings("autoscale", "deployment", "d", "--max=3")
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
        assert "drained" in kubectl(*drain, f"--pod-selector=app in (app,daemon)")
        left = kubectl("get", "pods", "-o", "jsonpath={.items[*].metadata.labels.app}", f"--field-selector=spec.nodeName={node}")
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
