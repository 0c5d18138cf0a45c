"""kubectl-lite prints what kubectl 1.33 prints: the same commands through both, against one server.

READ are asked of the same objects; CHANGE are sequences, in a namespace of its own for each client, whose state goes along. What
is meant to differ is in OTHERWISE with the reason, and a line of it that differs no more is to be taken out.
"""

import asyncio
import difflib
import shlex
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.component.kubectl_lite_beside import Beside, Said, beside, plain
from tests.support.kubectls import find_kubectls

VERSION = "1.33"
pytestmark = [pytest.mark.kubectl(VERSION), pytest.mark.timeout(120)]

READ = {
    "tables": """
        get pods
        get pods -o wide
        get pods -owide
        get pods -A
        get pods -A -o wide
        get pods --show-labels
        get pods -L app -L tier
        get pods -L app,tier --no-headers
        get pods -l app=web
        get pods -l app=nothing
        get pods -l 'app in (web,db),tier!=back'
        get pods --field-selector status.phase=Running
        get pods --field-selector=spec.nodeName=n1
        get pods -n nowhere
        get pods,svc
        get pods,svc -o wide
        get all
        get pod web-1 web-2
        get pod/web-1 svc/web
        get po web-1 --show-kind
        get po --show-kind --no-headers
        get svc -o wide
        get deploy -o wide
        get rs,sts,ds -o wide
        get jobs,cj -o wide
        get cm,secret,sa
        get pv,pvc
        get ing,netpol,pdb,hpa -o wide
        get events
        get events -o wide
        get role,rolebinding -o wide
        get quota,limits
        get sc,pc
        get endpointslices,endpoints
        get ns --show-labels
        get nodes
        get nodes -o wide
        get nodes -l zone=a
        get deployments.v1.apps
    """,
    "whole objects": """
        get pods -o yaml
        get pods -o json
        get pod web-1 -o yaml
        get pod web-1 -o json
        get pods -o name
        get pod/web-1 deploy/web -o name
        get deployments.apps web -o name
        get cm settings -o yaml
        get deploy web -o yaml
        get svc web -o json
    """,
    "chosen fields": """
        get pods -o jsonpath={.items[*].metadata.name}
        get pods -o jsonpath={.items[0].spec.containers[*].image}
        get pods -o 'jsonpath={range .items[*]}{.metadata.name}{"\\t"}{.status.podIP}{"\\n"}{end}'
        get pod web-1 -o jsonpath={.metadata}
        get pod web-1 -o 'jsonpath={.spec.containers[?(@.name=="side")].image}'
        get pod web-1 -o jsonpath={.nothing}
        get pod web-1 -o=jsonpath={.kind}
        get pods -o jsonpath-as-json={.items[*].metadata.name}
        get pods -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName,X:.nothing
        get pods -o custom-columns=NAME:.metadata.name,IMAGES:.spec.containers[*].image --no-headers
        get pods -o custom-columns=NAME:metadata.name,L:.metadata.labels
        get pods -o custom-columns=
        get pods -o custom-columns=NAME
        get secret keys -o jsonpath={.data.password}
    """,
    "order": """
        get pods --sort-by=.metadata.name
        get pods --sort-by={.status.phase}
        get pods,cm --sort-by=.metadata.name -o name
        get events --sort-by=.lastTimestamp
        get pods --sort-by=.nothing
    """,
    "what is not there": """
        get pod nope
        get pod nope --ignore-not-found
        get pod web-1 nope
        get pods nope -o yaml
        get node nope
        get nonsense
        get nonsense/web
        get
        get pods web-1 -l app=web
        get pods/web-1 pods
        get pod web-1 -A
        get pods -o nonsense
        get pods --nonsense
        get pods --field-selector nonsense=Running
        get pod web-1 -o jsonpath={.metadata.name
        get pod web-1 --template={{.metadata.name}}
        get -f nothing.yaml
        get --raw /version
        get --raw /readyz
        get --raw /api/v1/namespaces/one/configmaps/settings
        get --raw /nothing
        logs nope
        logs web-1 -c nothing
        exec nope -- ls
        exec web-1
        attach nope
        top nodes
        nonsense
        rollout status deploy/nope
        rollout history deploy/web
        wait pod/nope --for=condition=Ready --timeout=1s
        wait pod/nope --for=delete --timeout=1s
        wait pod/web-1 --for=condition=Ready --timeout=0s
        wait pod/web-1 --for=jsonpath={.status.phase}=Running
    """,
    "descriptions": """
        describe pod web-1
        describe pod web-2
        describe pods
        describe pod nope
        describe pod web-1 --show-events=false
        describe deploy web
        describe deploy/web svc/web
        describe svc nowhere
        describe node n1
        describe node n2
        describe ns default
        describe cm settings
        describe secret keys
        describe job once
        describe cronjob nightly
        describe sts db
        describe ds agent
        describe pvc claim
        describe pv disk
        describe ing door
        describe netpol wall
        describe pdb steady
        describe hpa web
        describe role reader
        describe rolebinding readers
        describe clusterrole cluster-admin
        describe quota limits
        describe limits range
        describe sa robot
        describe sc slow
        describe pc high
        describe endpointslice web-x
        describe
    """,
    "what there is": """
        api-resources
        api-resources --namespaced=false
        api-resources -o name
        api-resources -o wide
        api-resources --api-group=apps
        api-resources --verbs=delete,patch -o name
        api-resources --categories=all
        api-resources --no-headers
        api-resources --sort-by=kind
        api-versions
        explain pods
        explain pods.spec.containers
        explain deployments.spec.strategy --recursive
        explain pods --recursive
        explain pods.status.phase
        explain pods.metadata.labels
        explain hpa --api-version=autoscaling/v1
        explain pods.nothing
        explain
        events
        events --for pod/web-1
        events --types=Warning
        config current-context
        config get-contexts
        config get-contexts -o name
        config get-clusters
        config get-users
        config view
        config view --minify -o jsonpath={.clusters[0].name}
    """,
    "what I may": """
        auth can-i get pods
        auth can-i get pods -q
        auth can-i create deployments.apps -n default
        auth can-i nonsense pods
        auth can-i get nonsense
        auth can-i '*' '*'
        auth can-i get pod/web-1
        auth can-i list pods --subresource=log
        auth can-i get /healthz
        auth can-i list nodes
        auth can-i --list
        auth can-i
        auth whoami
    """,
}

CHANGE = {
    "labels": """
        label pod web-1 new=label
        label pod web-1 new=other
        label pod web-1 new=other --overwrite
        label pod web-1 new=other
        label pod web-1 new-
        label pod web-1 gone-
        label pods --all x=y
        label pod nope a=b
        label pod web-1 a=b --dry-run=client
        label pod web-1 a=b --dry-run=server
        label pods -l app=web l=m
        annotate pod web-1 a=b
        annotate pod web-1 a=c
        annotate pod web-1 a=c --overwrite
        annotate pod web-1 a-
        annotate pod web-1 nothing-
        annotate pod nope a=b
        get pods --show-labels
        label pod web-1
        label pod web-1 a=/x
    """,
    "numbers": """
        scale deploy/web --replicas=5
        scale deploy web --replicas=2 --current-replicas=4
        scale deploy web --replicas=2 --current-replicas=5
        scale deploy/web sts/db --replicas=1
        scale deploy/web --replicas=-1
        scale deploy/web --replicas=3 --dry-run=client
        scale deploy/nope --replicas=1
        scale deploy/web
        scale pod/web-1 --replicas=2
        autoscale deploy web --min=1 --max=3 --name=auto
        get deploy,hpa
    """,
    "patches": """
        patch cm settings -p '{"data":{"a":"b"}}'
        patch cm settings -p '{"data":{"a":"b"}}'
        patch cm settings -p 'data: {c: d}'
        patch cm settings --type=merge -p '{"data":{"a":null}}'
        patch cm settings --type=json -p '[{"op":"add","path":"/data/q","value":"1"}]'
        patch cm settings
        patch cm nope -p '{"data":{"a":"b"}}'
        patch deploy web -p '{"spec":{"replicas":"x"}}'
        patch deploy web --subresource=status --type=merge -p '{"status":{"replicas":7}}'
        patch cm settings -p '{"data":{"r":"s"}}' -o name
        get cm settings -o jsonpath={.data}
        patch cm settings -p '{data:{a:b}}'
        set image deploy/web web=nginx:1.26
        set image deploy/web nope=nginx:1.26
        set env deploy/web X=y
        set env deploy/web X-
        set env deploy/web --list
        set resources deploy/web --limits=cpu=1
    """,
    "rollouts": """
        rollout restart deploy/web
        rollout pause deploy/web
        rollout pause deploy/web
        rollout restart deploy/web
        rollout resume deploy/web
        rollout resume deploy/web
        rollout undo deploy/web
        rollout history deploy/nope
    """,
    "new objects": """
        create configmap made --from-literal=a=b
        create configmap made --from-literal=a=b
        create secret generic sec --from-literal=a=b
        create deployment made --image=nginx --replicas=2
        create service clusterip made --tcp=80:8080
        create job made --image=busybox -- echo hi
        create job made2 --from=cronjob/nightly
        create cronjob made3 --image=busybox '--schedule=*/5 * * * *'
        create serviceaccount made
        create role made --verb=get,list --resource=pods
        create rolebinding made --role=made --user=jane
        create quota made --hard=pods=10
        create ingress made --rule=a.com/=web:80
        create pdb made --selector=app=made --min-available=1
        expose deploy/web --port=80 --name=exposed
        expose pod/web-1 --port=80 --name=pod-exposed --target-port=8080
        run made --image=nginx
        run dry --image=nginx --port=80 --env=A=B --labels=a=b --dry-run=client -o yaml -- echo hi
        create deployment dry --image=nginx:1 --replicas=2 --port=80 --dry-run=client -o yaml
        create secret generic dry --from-literal=a=b --dry-run=client -o yaml
        create job dry --image=busybox --dry-run=client -o yaml -- echo hi
        create service nodeport dry --tcp=80 --dry-run=client -o yaml
        create cronjob dry --image=b --schedule=@daily --dry-run=client -o yaml
        create clusterrole dry --verb=get --resource=pods,deployments.apps --dry-run=client -o yaml
        create ingress dry --rule=a.com/x*=web:80,tls=s --dry-run=client -o yaml
        create configmap x --from-literal=a
        create -f nothing.yaml
        create namespace default
    """,
    "nodes": """
        cordon n1
        cordon n1
        uncordon n1
        uncordon n1
        cordon n1 --dry-run=client
        cordon nope
        cordon -l zone=a
        uncordon -l zone=a
        taint nodes n1 a=b:NoSchedule
        taint nodes n1 a=b:NoSchedule
        taint nodes n1 a=c:NoSchedule --overwrite
        taint nodes n1 a:NoSchedule-
        taint nodes n1 a:NoSchedule-
        taint nodes nope a=b:NoSchedule
        drain nope
        drain n1
        drain n1 --force --delete-emptydir-data --dry-run=client
        uncordon n1
    """,
    "manifests": """
        apply -f a.yaml
        apply -f a.yaml
        apply -f b.yaml
        get cm applied -o jsonpath={.data}
        apply -f a.yaml --dry-run=server
        apply -f two.yaml
        apply -f two.yaml -o name
        apply -f folder
        apply -f folder -R
        get -f two.yaml
        get -f two.yaml -o name
        label -f a.yaml q=r
        create -f a.yaml
        create -f unknown-field.yaml --validate=ignore
        replace -f b.yaml
        replace -f missing.yaml
        replace --force -f b.yaml
        delete -f two.yaml
        delete -f two.yaml --ignore-not-found
        apply
        apply -f nothing.yaml
        apply -f elsewhere.yaml
        apply -f unknown-field.yaml
        apply -f unknown-kind.yaml
        apply -f no-kind.yaml
        apply -f broken.yaml
    """,
    "ends": """
        delete pod nope
        delete pod nope --ignore-not-found
        delete cm settings --dry-run=client
        delete cm settings --dry-run=server
        delete cm settings
        delete deploy,svc web
        delete pod web-1 --grace-period=0 --force
        delete pod web-2 --now
        delete pods -l app=nothing
        delete job once --wait=false
        delete sa robot -o name
        delete cm --all
        delete cm
        delete nonsense x
        get all
    """,
}

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\n"
WEB = "spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [%s]}}}\n"
MANIFESTS = {
    "a.yaml": CONFIG % "applied" + 'data: {x: "1"}\n',
    "b.yaml": CONFIG % "applied" + 'data: {x: "2", z: "3"}\n',
    "two.yaml": f"{CONFIG % 'first'}---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: second}}\n"
    + WEB % "{name: c, image: i}",
    "missing.yaml": CONFIG % "missing",
    "unknown-field.yaml": CONFIG % "odd" + "datum: {x: y}\n",
    "no-kind.yaml": "apiVersion: v1\nmetadata: {name: x}\n",
    "unknown-kind.yaml": "apiVersion: v1\nkind: Nonsense\nmetadata: {name: x}\n",
    "elsewhere.yaml": CONFIG % "x, namespace: elsewhere",
    "broken.yaml": "a: [b\n",
    "folder/x.yaml": CONFIG % "m1",
    "folder/in/y.yaml": CONFIG % "m2",
}

OTHERWISE = {
    # command: why kubectl-lite does not say the same. Everywhere: what to do next is added to errors.
    "get pods --sort-by=.nothing": "kubectl shows nothing at all and calls it success",
    "get nonsense": "tells where the types are listed",
    "get nonsense/web": "tells where the types are listed",
    "delete nonsense x": "tells where the types are listed",
    "get": "an example instead of a list of forms",
    "describe": "an example, and where the types are listed",
    "explain": "an example, and where the types are listed",
    "get pods/web-1 pods": "one sentence",
    "get pods -o nonsense": "knows no Go templates, so they are not among the forms",
    "get pods --field-selector nonsense=Running": "does not repeat the request",
    "get pod web-1 -o jsonpath={.metadata.name": "says at which column",
    "get pod web-1 --template={{.metadata.name}}": "knows no Go templates, and says what to use instead",
    "logs nope": "the same error text as for all other verbs",
    "logs web-1 -c nothing": "names the containers that there are",
    "exec web-1": "shows where the command goes",
    "top nodes": "says what it is waiting for",
    "nonsense": "names what comes near, and the help",
    "explain pods.nothing": "names the fields that there are, and prints no half of a page before the error",
    "auth can-i": "one form of the words",
    "label pod web-1": "shows the form of a change",
    "label pod web-1 a=/x": "the server's check, which all clients get",
    "scale deploy/nope --replicas=1": "the server's error as it is",
    "scale deploy/web": "says what a count is",
    "scale pod/web-1 --replicas=2": "says what can be scaled",
    "patch cm settings -p '{data:{a:b}}'": "refused here, with a word on the shell's quotes",
    "set image deploy/web nope=nginx:1.26": "names the containers that there are",
    "rollout undo deploy/web": "says what is missing",
    "create configmap made --from-literal=a=b": "a second time: the server's error as for all other verbs",
    "drain n1": "says it once, and how to take the cordon back",
    "apply -f unknown-field.yaml": "says that it was applied, not whether it would have been created",
    "apply -f unknown-kind.yaml": "tells where the types are listed",
    "apply -f no-kind.yaml": "does not advise to turn validation off",
    "apply -f broken.yaml": "its YAML library's words",
    "delete cm": "says how to name objects",
}
MADE_HERE = "--dry-run=client -o yaml"
"""Of objects that the client makes, kubectl prints Go's empty fields, too: their values are compared, not their text."""
NO_DESCRIPTIONS = "This server's schema knows types but has no descriptions"


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[Beside]:
    for name, text in MANIFESTS.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    async with beside(tmp_path, find_kubectls(VERSION)[0]) as made:
        yield made


def words_of(line: str, folder: Path) -> list[str]:
    """Files by their whole path, so that it does not matter where a client runs."""
    return [str(folder / word) if (folder / word).exists() else word for word in shlex.split(line)]


def commands(text: str) -> list[str]:
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("group", READ)
async def test_what_is_read_looks_the_same(both: Beside, group: str) -> None:
    asked = commands(READ[group])
    limit = asyncio.Semaphore(4)

    async def one(line: str) -> Said:
        async with limit:
            return await both.kubectl(shlex.split(line))

    theirs = await asyncio.gather(*map(one, asked))
    ours = [await both.lite(shlex.split(line), space="one") for line in asked]
    compare(asked, theirs, ours)


@pytest.mark.parametrize("group", CHANGE)
async def test_what_is_changed_is_told_the_same(both: Beside, group: str) -> None:
    asked = commands(CHANGE[group])
    theirs = [await both.kubectl(words_of(line, both.here)) for line in asked]
    ours = [await both.lite(words_of(line, both.here)) for line in asked]
    compare(asked, theirs, ours)


def compare(asked: Sequence[str], theirs: Sequence[Said], ours: Sequence[Said]) -> None:
    differing = []
    for line, kubectl, lite in zip(asked, theirs, ours, strict=True):
        same = not (found := difference(line, kubectl.plain(), lite.plain()))
        if same and line in OTHERWISE and asked.count(line) == 1:
            differing.append(f"# {line}\nOTHERWISE says that it differs, but it does not")
        if not same and line not in OTHERWISE:
            differing.append(f"# {line}\n{found}")
    assert not differing, "\n\n".join(differing)


def difference(line: str, kubectl: Said, lite: Said) -> str:
    lines = []
    if MADE_HERE in line and kubectl.code == lite.code == 0:
        their, our = (without_empty(yaml.safe_load(said.out)) for said in (kubectl, lite))
        return "" if their == our else f"{their}\n{our}"
    err = "\n".join(text for text in lite.err.splitlines() if not text.startswith(NO_DESCRIPTIONS))
    for name, their, our in (("out", kubectl.out, lite.out), ("err", kubectl.err, err)):
        lines += list(
            difflib.unified_diff(
                their.rstrip().splitlines(), our.rstrip().splitlines(), f"kubectl {name}", name, lineterm="", n=1
            )
        )
    if kubectl.code != lite.code:
        lines.append(f"exit codes {kubectl.code}, {lite.code}")
    return "\n".join(lines)


def without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: v for k, v in ((k, without_empty(v)) for k, v in value.items()) if v not in (None, {}, [])}
    return [without_empty(v) for v in value] if isinstance(value, list) else value


WATCHES = (
    "get pods -w",
    "get pods -w --output-watch-events",
    "get pod web-1 -w -o name",
    "get cm -w --show-labels --no-headers",
)


@pytest.mark.parametrize("line", WATCHES)
async def test_what_is_watched_looks_the_same(both: Beside, line: str) -> None:
    """A label is changed, an object comes and goes: as many lines from both, and the same."""
    words = [*shlex.split(line), "-n", "one"]
    async with both.going_on(words) as (theirs, ours):
        first = max(len(await ours.lines(1)), 1)
        await theirs.lines(first)
        for change in (
            "label pod web-1 seen=yes",
            "label cm settings seen=yes",
            "run a-pod-with-a-long-name --image=i",
            "delete pod a-pod-with-a-long-name --force",
            "create configmap made",
            "delete configmap made",
        ):
            assert (await both.lite(shlex.split(change), space="one")).code == 0
        expected = {"pod": first + 1, "cm": first + 3, "pods": first + 3}[words[1]]
        found = [plain("\n".join(await side.lines(expected))) for side in (theirs, ours)]
    assert found[1].splitlines() == found[0].splitlines()
