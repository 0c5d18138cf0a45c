"""What kubectl and kubectl-lite are both asked that changes nothing: groups of commands, and where the answers are meant to differ."""

COMMANDS = {
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

WATCHES = (
    "get pods -w",
    "get pods -w --output-watch-events",
    "get pod web-1 -w -o name",
    "get cm -w --show-labels --no-headers",
)
"""These do not end by themselves."""

OTHERWISE = {
    "get pods --sort-by=.nothing": "kubectl shows nothing at all and calls it success",
    "get nonsense": "tells where the types are listed",
    "get nonsense/web": "tells where the types are listed",
    "get": "an example instead of a list of forms",
    "describe": "an example, and where the types are listed",
    "explain": "an example, and where the types are listed",
    "get pods/web-1 pods": "one sentence",
    "get pods --field-selector nonsense=Running": "does not repeat the request",
    "get pod web-1 -o jsonpath={.metadata.name": "says at which column",
    "logs nope": "the same error text as for all other verbs",
    "logs web-1 -c nothing": "names the containers that there are",
    "exec web-1": "shows where the command goes",
    "top nodes": "says what it is waiting for",
    "nonsense": "names what comes near, and the help",
    "explain pods.nothing": "names the fields that there are, and prints no half of a page before the error",
    "auth can-i": "one form of the words",
}
"""Command: why kubectl-lite does not say the same. Everywhere: what to do next is added to errors."""
