"""What kubectl and kubectl-lite are both told to change: sequences of commands, whose state goes along, and the files they name."""

COMMANDS = {
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
    "delete nonsense x": "tells where the types are listed",
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
"""Command: why kubectl-lite does not say the same. Everywhere: what to do next is added to errors."""
