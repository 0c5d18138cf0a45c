"""Pods and observed containers for the node agent's tests, in few words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kubeapi.types.core_v1 import Container as Wish
from kubeapi.types.core_v1 import Pod, PodSpec
from kubeapi.types.meta_v1 import ObjectMeta
from node_agent.hashing import spec_hash
from node_agent.runtimes.interface import Container

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
IMAGE = "sampan/busybox:1"


def wish(name: str = "c", **fields: object) -> Wish:
    return Wish(name=name, image=IMAGE, **fields)  # type: ignore[arg-type]


def pod(*containers: Wish, inits: Sequence[Wish] = (), uid: str = "u1", name: str = "web", **spec: object) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=name, namespace="default", uid=uid, resource_version="1"),
        spec=PodSpec(
            containers=list(containers) or [wish()],
            init_containers=list(inits),
            node_name="n1",
            **{"restart_policy": "Always", **spec},  # type: ignore[arg-type]
        ),
    )


def sandbox(**fields: object) -> Container:
    return made("", kind="sandbox", id="sandbox-0", spec_hash="", **fields)


def made(name: str = "c", *, attempt: int = 0, **fields: object) -> Container:
    """A running container, unless `fields` says otherwise."""
    known: dict[str, object] = {
        "id": f"{name}-{attempt}",
        "pod_uid": "u1",
        "spec_hash": spec_hash(wish(name)),
        "kind": "app",
        "image": IMAGE,
        "image_id": "i",
        "state": "running",
        "created": NOW - timedelta(seconds=60),
        "started": NOW - timedelta(seconds=60),
    }
    return Container(name=name, attempt=attempt, **{**known, **fields})  # type: ignore[arg-type]


def ended(name: str = "c", code: int = 1, *, ago: float = 0.0, ran: float = 5.0, **fields: object) -> Container:
    finished = NOW - timedelta(seconds=ago)
    started = finished - timedelta(seconds=ran)
    return made(name, state="exited", exit_code=code, started=started, finished=finished, **fields)
