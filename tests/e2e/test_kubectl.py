"""Unmodified kubectl of several ages against a cluster of three nodes with real containers: what people do every day."""

import json
import re
import signal
import ssl
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from sampan.cluster_layout import Layout
from tests.e2e.conftest import MANIFESTS, Kubectl

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: sampan/busybox:1
          command: [sh, -c, "echo started; exec sleep 1000"]
"""
BOX = """
apiVersion: v1
kind: Pod
metadata: {name: box, labels: {app: box}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - {name: main, image: "sampan/busybox:1", command: [sleep, "1000"]}
    - {name: side, image: "sampan/busybox:1", command: [sh, -c, "echo aside; exec sleep 1000"]}
"""


def web(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=WEB)
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def box(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=BOX)
    kubectl("wait", "pod/box", "--for=condition=Ready", "--timeout=60s")


def at(kubectl: Kubectl, what: str, path: str) -> str:
    return kubectl("get", what, "-o", f"jsonpath={{{path}}}")


def test_apply_of_the_demo_twice_and_after_a_change(kubectl: Kubectl, tmp_path: Path) -> None:
    for manifest in MANIFESTS.glob("*.yaml"):
        text = manifest.read_text().replace("nodePort: 30080", "nodePort: 30999")
        (tmp_path / manifest.name).write_text(text)
    assert "deployment.apps/web created" in kubectl("apply", "-f", str(tmp_path))
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
    before = at(kubectl, "secret/web-secret", ".metadata.resourceVersion")
    again = dict(line.split() for line in kubectl("apply", "-f", str(tmp_path)).splitlines())
    # kubectl sends a patch for what its file cannot say in full: stringData, and volumes beside which admission adds one.
    assert again.pop("secret/web-secret") == again.pop("pod/writer") == "configured"
    assert len(again) == 4 and set(again.values()) == {"unchanged"}, again
    assert at(kubectl, "secret/web-secret", ".metadata.resourceVersion") == before
    changed = tmp_path / "10-config.yaml"
    changed.write_text(changed.read_text().replace("a file from a config map", "another file"))
    assert (
        "-  page.txt: a file from a config map"
        in subprocess.run(
            kubectl.command("diff", "-f", str(changed)), capture_output=True, text=True, timeout=60
        ).stdout
    )
    assert "configmap/web-config configured" in kubectl("apply", "-f", str(tmp_path))
    kubectl("delete", "-f", str(tmp_path))
    kubectl("wait", "pods", "-l", "app=web", "--for=delete", "--timeout=60s")  # kubectl waits for owners only
    assert kubectl("get", "deployments,pods,services,pvc") == ""


def test_get_in_every_form(kubectl: Kubectl, tmp_path: Path) -> None:
    web(kubectl)
    rows = kubectl("get", "pods").splitlines()
    assert rows[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"] and len(rows) == 3
    assert re.search(r"10\.244\.\d+\.\d+ +node-\d", kubectl("get", "pods", "-o", "wide"))
    assert len(json.loads(kubectl("get", "pods", "-o", "json"))["items"]) == 2
    assert "kind: Deployment" in kubectl("get", "deployment", "web", "-o", "yaml")
    names = kubectl("get", "pods", "-o", "name").split()
    assert len(names) == 2 and names[0].startswith("pod/web-")
    assert at(kubectl, "pods", ".items[*].spec.containers[0].image") == "sampan/busybox:1 sampan/busybox:1"
    (tmp_path / "path").write_text("{.items[0].kind}")
    assert kubectl("get", "pods", "-o", f"jsonpath-file={tmp_path / 'path'}") == "Pod"
    assert kubectl("get", "pods", "-o", "custom-columns=A:.metadata.labels.app", "--no-headers").split() == [
        "web",
        "web",
    ]
    assert kubectl("get", "pods", "-o", "go-template={{len .items}}") == "2"
    assert "app=web" in kubectl("get", "pods", "--show-labels", "--sort-by=.metadata.name")
    assert len(kubectl("get", "pods", "-l", "app=web", "--no-headers").splitlines()) == 2
    assert kubectl("get", "pods", "-l", "app!=web") == ""
    assert len(kubectl("get", "pods", "--field-selector=status.phase=Running", "--no-headers").splitlines()) == 2
    assert "kube-node-lease" in kubectl("get", "leases", "-A")
    assert re.search(r"deployment\.apps/web +2/2 +2 +2", kubectl("get", "all"))
    assert 'pods "nothing" not found' in kubectl("get", "pod", "nothing", fails=True)


def test_get_watches(kubectl: Kubectl) -> None:
    box(kubectl)
    watch = subprocess.Popen(kubectl.command("get", "pods", "-w", "--no-headers"), stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout is not None and watch.stdout.readline().split()[:3] == ["box", "2/2", "Running"]
        kubectl("delete", "pod", "box")
        assert "Terminating" in watch.stdout.readline()
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.communicate()


def test_describe(kubectl: Kubectl) -> None:
    web(kubectl)
    kubectl("apply", "-f", str(MANIFESTS / "10-config.yaml"), "-f", str(MANIFESTS / "30-data.yaml"))
    kubectl("wait", "pod/writer", "--for=condition=Ready", "--timeout=60s")
    pod = kubectl("describe", "pod", "writer")
    for part in ("Started container writer", "/data from data (rw)", "QoS Class:", "Successfully assigned"):
        assert part in pod
    assert "FailedScheduling" not in pod
    assert "2 desired | 2 updated | 2 total | 2 available | 0 unavailable" in kubectl("describe", "deployment", "web")
    assert "Non-terminated Pods:" in kubectl("describe", "node", "node-1")
    assert re.search(r"Used By: +writer", kubectl("describe", "pvc", "data"))
    assert f"{kubectl.namespace}/data" in kubectl("describe", "pv", at(kubectl, "pvc/data", ".spec.volumeName"))
    assert "hello from a config map" in kubectl("describe", "configmap", "web-config")
    assert "13 bytes" in kubectl("describe", "secret", "web-secret")
    assert "10.96.0.1" in kubectl("describe", "service", "kubernetes", "-n", "default")
    assert "Status:       Active" in kubectl("describe", "namespace", kubectl.namespace)


def test_three_patches_an_edit_and_a_replace(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=0")
    for kind, patch, value in (
        ("strategic", '{"data": {"a": "1"}}', "1"),
        ("merge", '{"data": {"a": "2"}}', "2"),
        ("json", '[{"op": "replace", "path": "/data/a", "value": "3"}]', "3"),
    ):
        kubectl("patch", "configmap", "c", f"--type={kind}", "-p", patch)
        assert at(kubectl, "configmap/c", ".data.a") == value
    kubectl("edit", "configmap", "c", EDITOR='sed -i "s/a: .3./a: edited/"')
    assert at(kubectl, "configmap/c", ".data.a") == "edited"
    now = kubectl("get", "configmap", "c", "-o", "yaml")
    kubectl("replace", "-f", "-", stdin=now.replace("a: edited", "a: replaced"))
    assert at(kubectl, "configmap/c", ".data.a") == "replaced"
    assert "Conflict" in kubectl("replace", "-f", "-", stdin=now.replace("a: edited", "a: late"), fails=True)


def test_scale_and_the_whole_of_rollout(kubectl: Kubectl) -> None:
    web(kubectl)
    kubectl("scale", "deployment/web", "--replicas=3")
    kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=3", "--timeout=60s")
    kubectl("set", "env", "deployment/web", "STEP=2")
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert re.findall(r"^(\d+)", kubectl("rollout", "history", "deployment/web"), re.M) == ["1", "2"]
    assert "STEP" in kubectl("rollout", "history", "deployment/web", "--revision=2")
    kubectl("rollout", "undo", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert at(kubectl, "deployment/web", ".spec.template.spec.containers[0].env") == ""
    kubectl("rollout", "pause", "deployment/web")
    assert "paused" in kubectl("rollout", "restart", "deployment/web", fails=True)
    kubectl("rollout", "resume", "deployment/web")
    kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    assert at(kubectl, "deployment/web", ".spec.template.metadata.annotations.kubectl\\.kubernetes\\.io/restartedAt")


def test_logs(kubectl: Kubectl) -> None:
    box(kubectl)
    assert kubectl("logs", "box", "-c", "side") == "aside\n"
    assert "aside" in kubectl("logs", "-l", "app=box", "--all-containers", "--prefix")
    script = "for i in 1 2 3; do echo line $i; sleep 0.3; done"
    kubectl("run", "teller", "--image=sampan/busybox:1", "--restart=Never", "--command", "--", "sh", "-c", script)
    kubectl("wait", "pod/teller", "--for=jsonpath={.status.startTime}", "--timeout=60s")
    kubectl("wait", "pod/teller", "--for=condition=PodReadyToStartContainers", "--timeout=60s")
    kubectl("wait", "pod/teller", "--for=condition=ContainersReady", "--timeout=60s")
    assert kubectl("logs", "-f", "teller") == "line 1\nline 2\nline 3\n"
    assert kubectl("logs", "teller", "--tail=1") == "line 3\n"


def test_exec_with_and_without_a_terminal(kubectl: Kubectl) -> None:
    box(kubectl)
    assert kubectl("exec", "-i", "box", "-c", "main", "--", "sh", "-c", "cat; echo $((6*7))", stdin="in ") == "in 42\n"
    assert "exit code 3" in kubectl("exec", "box", "-c", "main", "--", "sh", "-c", "exit 3", fails=True)
    lines = [("# ", "tty; echo in-$((40+2))"), ("in-42", "exit 3")]
    shown, code = kubectl.typed("exec", "-it", "box", "-c", "main", "--", "sh", lines=lines)
    assert "/dev/pts/0" in shown and "in-42" in shown and code == 3, shown


def test_labels_annotations_and_waiting(kubectl: Kubectl) -> None:
    web(kubectl)
    kubectl("label", "deployment", "web", "tier=front")
    assert "already has a value" in kubectl("label", "deployment", "web", "tier=back", fails=True)
    kubectl("annotate", "deployment", "web", "note=x", "--overwrite")
    assert kubectl("get", "deployments", "-l", "tier=front", "-o", "name").strip() == "deployment.apps/web"
    kubectl("label", "deployment", "web", "tier-")
    kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=30s")
    kubectl("delete", "deployment", "web", "--wait=false")
    kubectl("wait", "pod", "-l", "app=web", "--for=delete", "--timeout=60s")


def test_deletion_orphan_foreground_and_force(kubectl: Kubectl) -> None:
    web(kubectl)
    kubectl("delete", "deployment", "web", "--cascade=orphan")
    kubectl("delete", "replicaset", "-l", "app=web", "--cascade=foreground")
    assert kubectl("get", "pods") == ""
    box(kubectl)
    kubectl("delete", "pod", "box", "--grace-period=0", "--force")
    assert "NotFound" in kubectl("get", "pod", "box", fails=True)


def test_nodes_are_cordoned_and_drained_within_a_budget(kubectl: Kubectl) -> None:
    web(kubectl)
    kubectl("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=1")
    box(kubectl)
    node = at(kubectl, "pod/box", ".spec.nodeName")
    try:
        kubectl("cordon", node)
        assert "SchedulingDisabled" in kubectl("get", "node", node)
        said = kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=90s")
        assert f"node/{node} drained" in said
        assert kubectl("get", "pods", "-A", f"--field-selector=spec.nodeName={node}", "-o", "name") == ""
    finally:
        kubectl("uncordon", node)
    kubectl("wait", "deployment/web", "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")


def test_what_the_cluster_says_of_itself(kubectl: Kubectl) -> None:
    assert re.search(r"^deployments +deploy +apps/v1 +true +Deployment", kubectl("api-resources"), re.M)
    assert "apps/v1\n" in kubectl("api-versions")
    assert "rollingUpdate" in kubectl("explain", "deployment.spec.strategy")
    assert "maxSurge" in kubectl("explain", "deployment.spec.strategy", "--recursive")
    assert "is running at" in kubectl("cluster-info")
    assert re.search(r"Server Version:.*v1\.\d+", kubectl("version"))
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "no" in kubectl("auth", "can-i", "create", "pods", "--as=nobody", fails=True) + "no"
    assert "node-1" in kubectl("get", "nodes")


def test_create_by_words(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d", "--image=sampan/busybox:1", "--", "sleep", "1000")
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "namespace", f"{kubectl.namespace}-more")
    kubectl("create", "service", "clusterip", "one", "--tcp=80:8080")
    kubectl("create", "service", "nodeport", "two", "--tcp=80:8080")
    kubectl("create", "serviceaccount", "sa")
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "readers", "--role=reader", f"--serviceaccount={kubectl.namespace}:sa")
    kubectl("create", "job", "j", "--image=sampan/busybox:1", "--", "true")
    kubectl("create", "cronjob", "cj", "--image=sampan/busybox:1", "--schedule=0 0 * * *", "--", "true")
    kubectl("expose", "deployment", "d", "--port=80", "--name=three")
    kubectl("rollout", "status", "deployment/d", "--timeout=60s")
    kubectl("wait", "job/j", "--for=condition=Complete", "--timeout=60s")
    assert at(kubectl, "secret/s", ".data.a") == "Yg=="
    assert at(kubectl, "service/three", ".spec.selector.app") == "d"
    assert 30000 <= int(at(kubectl, "service/two", ".spec.ports[0].nodePort")) < 32768
    who = f"--as=system:serviceaccount:{kubectl.namespace}:sa"
    assert kubectl("auth", "can-i", "list", "pods", who).strip() == "yes"
    kubectl("delete", "namespace", f"{kubectl.namespace}-more")


def test_a_mistake_is_told_by_its_field(kubectl: Kubectl) -> None:
    wrong = WEB.replace("replicas: 2", "replica: 2")
    assert 'unknown field "spec.replica"' in kubectl("apply", "-f", "-", stdin=wrong, fails=True)
    wrong = WEB.replace("replicas: 2", "replicas: -2")
    assert "spec.replicas: Invalid value: -2" in kubectl("create", "-f", "-", stdin=wrong, fails=True)


def test_nobody_gets_in_without_a_certificate_but_to_the_health_endpoints(layout: Layout) -> None:
    settings = layout.settings()
    assert settings is not None
    context = ssl.create_default_context(cafile=str(layout.pki / "ca.crt"))

    def status(path: str) -> int:
        try:
            with urllib.request.urlopen(
                f"https://127.0.0.1:{settings.port}{path}", context=context, timeout=5
            ) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as refused:
            return refused.code

    assert [status(path) for path in ("/healthz", "/livez", "/readyz")] == [200, 200, 200]
    assert [status(path) for path in ("/api", "/api/v1/pods", "/apis", "/openapi/v3", "/metrics", "/")] == [401] * 6
