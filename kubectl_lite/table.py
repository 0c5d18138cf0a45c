"""The verbs: group of the help text, name, file, one line. A verb's file is imported only when it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubectl_lite.verb import Verb

VERBS: dict[str, tuple[str, str, str]] = {
    # name: (group, module, help)
    "create": ("Basic", "create", "Create objects from manifests, or of common kinds from flags"),
    "expose": ("Basic", "expose", "Put a new service in front of pods"),
    "run": ("Basic", "run", "Run one pod of an image"),
    "set": ("Basic", "set", "Change images, variables or resources of a pod template"),
    "explain": ("Basic", "explain", "Show the fields of a resource"),
    "get": ("Basic", "get", "Show objects"),
    "edit": ("Basic", "edit", "Change an object in an editor"),
    "delete": ("Basic", "delete", "Delete objects by name, selector or manifest"),
    "rollout": ("Deploy", "rollout", "Follow, undo, restart or pause a rollout"),
    "scale": ("Deploy", "scale", "Set the number of replicas"),
    "autoscale": ("Deploy", "autoscale", "Let the number of replicas follow the load"),
    "cluster-info": ("Cluster", "cluster_info", "Tell where the cluster answers"),
    "top": ("Cluster", "top", "Show what nodes and pods use"),
    "cordon": ("Cluster", "cordon", "Mark a node as unschedulable"),
    "uncordon": ("Cluster", "cordon", "Mark a node as schedulable"),
    "drain": ("Cluster", "drain", "Move all pods off a node, for maintenance"),
    "taint": ("Cluster", "taint", "Set or remove the taints of nodes"),
    "describe": ("Debug", "describe", "Show an object in detail, with its events"),
    "logs": ("Debug", "logs", "Print what a container wrote"),
    "cp": ("Debug", "cp", "Copy files to and from a container"),
    "port-forward": ("Debug", "port_forward", "Reach ports of a pod from here"),
    "attach": ("Debug", "attach", "Attach to a running container"),
    "exec": ("Debug", "exec", "Run a command in a container"),
    "explain-pending": ("Debug", "explain_pending", "Tell why a pod waits, and what would have to change"),
    "events": ("Debug", "events", "Show what happened, in order of time"),
    "auth": ("Debug", "auth", "Ask what you may do"),
    "diff": ("Advanced", "diff", "Show what applying manifests would change"),
    "apply": ("Advanced", "apply", "Create or change objects so that they match manifests"),
    "patch": ("Advanced", "patch", "Change fields of an object"),
    "replace": ("Advanced", "replace", "Replace objects by those of manifests"),
    "wait": ("Advanced", "wait", "Wait for a condition, a value or an end"),
    "label": ("Settings", "label", "Set or remove labels"),
    "annotate": ("Settings", "label", "Set or remove annotations"),
    "api-resources": ("Other", "api_resources", "List the resource types"),
    "api-versions": ("Other", "api_versions", "List the API versions"),
    "completion": ("Other", "completion", "Print a script for the shell's tab key"),
    "config": ("Other", "config", "Show and change kubeconfig files"),
    "options": ("Other", "options", "List the flags that every verb takes"),
    "version": ("Other", "version", "Print the versions of client and server"),
}

GROUPS = {
    "Basic": "Basic",
    "Deploy": "Deploy",
    "Cluster": "Cluster management",
    "Debug": "Troubleshooting and debugging",
    "Advanced": "Advanced",
    "Settings": "Settings",
    "Other": "Other",
}
_KUBECTL = "kubectl has, and works on this cluster, too"
ABSENT = {name: _KUBECTL for name in ("alpha", "certificate", "debug", "plugin", "proxy")} | {
    "kustomize": "render with `kubectl kustomize DIR`, and give the result to `kubectl-lite apply -f -`"
}
"""Verbs of kubectl that are missing here, and what to do instead."""
HIDDEN: dict[str, str] = {"__complete": "completion"}
"""Verbs that no list shows."""


def load(name: str) -> Verb:
    """`uncordon` shares a file with `cordon`: such a file has VERBS."""
    file = HIDDEN.get(name) or VERBS[name][1]
    module = importlib.import_module(f"kubectl_lite.verbs.{file}")
    verb: Verb = module.VERBS[name] if hasattr(module, "VERBS") else module.VERB
    return verb
