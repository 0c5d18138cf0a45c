"""Events about pods and their containers, and about the node, as kubelet tells them.

What happens to a container names it by its field (spec.containers{web}), so that events of two containers with the same
words stay two, and `kubectl get events -o wide` shows which is meant.
"""

from collections.abc import Iterable, Iterator, Sequence

from kubeapi.client.events import EventRecorder, Severity, reference
from kubeapi.types.core_v1 import Node, NodeCondition, Pod

COMPONENT = "kubelet"
"""What Kubernetes users look for in the column From."""

_OF_NODE = {
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
}


class PodEvents:
    def __init__(self, events: EventRecorder) -> None:
        self._events = events

    def say(self, pod: Pod, reason: str, message: str, *, container: str = "") -> None:
        self._tell(pod, "Normal", reason, message, container)

    def warn(self, pod: Pod, reason: str, message: str, *, container: str = "") -> None:
        self._tell(pod, "Warning", reason, message, container)

    def _tell(self, pod: Pod, severity: Severity, reason: str, message: str, container: str) -> None:
        self._events.event(reference(pod, field_of(pod, container)), severity, reason, message)


def field_of(pod: Pod, container: str) -> str:
    if not container:
        return ""
    spec = pod.spec
    for field, wishes in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
        ("ephemeralContainers", spec.ephemeral_containers),
    ):
        if any(wish.name == container for wish in wishes):
            return f"spec.{field}{{{container}}}"
    return ""


def changes_of_node(old: Iterable[NodeCondition], new: Sequence[NodeCondition]) -> Iterator[str]:
    """The reasons of events for conditions that are not as they were."""
    before = {condition.type: condition.status for condition in old}
    for condition in new:
        known = condition.type in before or condition.type != "Ready"  # a new node is not told to be unready
        if known and before.get(condition.type) != condition.status:
            reason = _OF_NODE.get((condition.type, condition.status))
            if reason:
                yield reason


def tell_of_node(events: EventRecorder, node: Node, reasons: Iterable[str]) -> None:
    for reason in reasons:
        events.event(node, "Normal", reason, f"Node {node.metadata.name} status is now: {reason}")


def in_words(seconds: float) -> str:
    """A span of time as Go writes it: 850ms, 2.125s, 1m5.2s."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}m{rest:g}s" if minutes else f"{rest:g}s"
