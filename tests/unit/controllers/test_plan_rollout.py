"""The plans of deployments and replica sets, played against a cluster that answers as it likes."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.controllers.deployment.plan import plan
from controlplane.controllers.deployment.rolling import Bounds, bounds_of, scale
from controlplane.controllers.deployment.sets import DESIRED, MAXIMUM, REVISION, replicas
from controlplane.controllers.managed import claim
from controlplane.controllers.replicaset import plan as sets
from kubeapi.meta import get_condition, replace
from kubeapi.selectors import label_query
from kubeapi.types import apps_v1, core_v1
from tests.support.make import NOW, make_deployment, make_pod, make_replicaset, make_template


@pytest.mark.parametrize(
    ("total", "surge", "unavailable", "expected"),
    [
        (10, None, None, Bounds(3, 2)),
        (10, "25%", "25%", Bounds(3, 2)),
        (3, 1, 0, Bounds(1, 0)),
        (3, 0, 0, Bounds(0, 1)),
        (1, "0%", "10%", Bounds(0, 1)),
        (2, 0, 5, Bounds(0, 2)),
    ],
)
def test_bounds(total: int, surge: int | str | None, unavailable: int | str | None, expected: Bounds) -> None:
    assert bounds_of(make_deployment(replicas=total, surge=surge, unavailable=unavailable)) == expected


@pytest.mark.parametrize("note", ["", "abc", "-5", "0", "\u00b2"])
def test_a_note_that_cannot_be_read_holds_no_rollout_up(note: str) -> None:
    before = make_deployment(replicas=10)
    new, old = (
        replace(rs, metadata=replace(rs.metadata, annotations={MAXIMUM: note, DESIRED: "5"}))
        for rs in (make_replicaset("web-1", 4), make_replicaset("web-2", 2))
    )
    assert sum(scale(before, new, [old]).values()) == 10 + bounds_of(before).surge


class Rollout:
    """ReplicaSets that the plan is carried out on; their pods become available when `settle` says so."""

    def __init__(self, deployment: apps_v1.Deployment) -> None:
        self.deployment = deployment
        self.sets: dict[str, apps_v1.ReplicaSet] = {}

    def step(self) -> bool:
        todo = plan(self.deployment, list(self.sets.values()), [], NOW)
        if todo.create is not None:
            name = todo.create.metadata.name
            meta = replace(todo.create.metadata, uid=name, creation_timestamp=NOW + timedelta(len(self.sets)))
            self.sets[name] = replace(todo.create, metadata=meta)
        for _, after in todo.update:
            # pods that are to go are gone at once, the available ones last
            size = replicas(after)
            status = replace(
                after.status,
                replicas=min(after.status.replicas, size),
                available_replicas=min(after.status.available_replicas, size),
            )
            self.sets[after.metadata.name] = replace(after, status=status)
        moved = bool(todo.create or todo.update)
        self.deployment = replace(self.deployment, status=todo.status)
        return moved

    def settle(self, rng: Random, everything: bool = False) -> None:
        for name, rs in self.sets.items():
            size = replicas(rs)
            available = size if everything else rng.randint(rs.status.available_replicas, size)
            status = replace(rs.status, replicas=size, ready_replicas=available, available_replicas=available)
            self.sets[name] = replace(rs, status=status)

    def finish(self, rng: Random) -> None:
        for _ in range(200):
            self.settle(rng, everything=True)
            before = self.deployment.status
            if not self.step() and self.deployment.status == before:
                return
        raise AssertionError("the rollout does not end")


AMOUNT = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda n: f"{n}%"))


@settings(deadline=None)
@given(st.integers(1, 12), AMOUNT, AMOUNT, st.integers(0, 2**32))
def test_a_rollout_keeps_its_bounds_and_ends(total: int, surge: int | str, unavailable: int | str, seed: int) -> None:
    rng = Random(seed)
    rollout = Rollout(make_deployment(replicas=total, surge=surge, unavailable=unavailable))
    rollout.finish(rng)
    changed = replace(rollout.deployment.spec, template=make_template(image="app:2"))
    rollout.deployment = replace(rollout.deployment, spec=changed)
    bounds = bounds_of(rollout.deployment)
    for _ in range(30):
        rollout.step()
        assert sum(replicas(rs) for rs in rollout.sets.values()) <= total + bounds.surge
        assert sum(rs.status.available_replicas for rs in rollout.sets.values()) >= total - bounds.unavailable
        rollout.settle(rng)
    rollout.finish(rng)
    sizes = {rs.spec.template.spec.containers[0].image: replicas(rs) for rs in rollout.sets.values()}
    assert sizes == {"app:1": 0, "app:2": total}


def test_going_back_makes_the_old_set_the_newest_revision() -> None:
    rng = Random(1)
    rollout = Rollout(make_deployment())
    for image in ("app:1", "app:2", "app:1"):
        spec = replace(rollout.deployment.spec, template=make_template(image=image))
        rollout.deployment = replace(rollout.deployment, spec=spec)
        rollout.finish(rng)
    revisions = {
        rs.spec.template.spec.containers[0].image: rs.metadata.annotations[REVISION] for rs in rollout.sets.values()
    }
    assert revisions == {"app:1": "3", "app:2": "2"}
    assert any("1" in rs.metadata.annotations.get("deployment.kubernetes.io/revision-history", "")
               for rs in rollout.sets.values())  # fmt: skip


def test_a_finished_rollout_says_so_and_a_stuck_one_too() -> None:
    rollout = Rollout(make_deployment(progress_deadline_seconds=10))
    rollout.step()
    late = plan(rollout.deployment, list(rollout.sets.values()), [], NOW + timedelta(seconds=11))
    stuck = get_condition(late.status.conditions, "Progressing")
    assert stuck is not None and (stuck.status, stuck.reason) == ("False", "ProgressDeadlineExceeded")
    rollout.finish(Random(1))
    reasons = {c.type: (c.status, c.reason) for c in rollout.deployment.status.conditions}
    assert reasons == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


def test_a_paused_deployment_does_not_roll_and_still_scales() -> None:
    rng = Random(1)
    rollout = Rollout(make_deployment())
    rollout.finish(rng)
    spec = replace(rollout.deployment.spec, paused=True, replicas=5, template=make_template(image="app:2"))
    rollout.deployment = replace(rollout.deployment, spec=spec)
    rollout.finish(rng)
    assert [replicas(rs) for rs in rollout.sets.values()] == [5]


def test_recreate_waits_for_the_old_pods() -> None:
    rng = Random(1)
    rollout = Rollout(make_deployment(strategy="Recreate"))
    rollout.finish(rng)
    (old,) = rollout.sets.values()
    spec = replace(rollout.deployment.spec, template=make_template(image="app:2"))
    rollout.deployment = replace(rollout.deployment, spec=spec)
    rollout.step()
    assert [replicas(rs) for rs in rollout.sets.values()] == [0]
    running = [make_pod("p", owner=old, phase="Running")]
    assert plan(rollout.deployment, list(rollout.sets.values()), running, NOW).create is None
    created = plan(rollout.deployment, list(rollout.sets.values()), [], NOW).create
    assert created is not None and replicas(created) == 3


def test_the_least_useful_pods_go_first() -> None:
    rs = make_replicaset(replicas=1)
    pods = [
        make_pod("ready", node="a", phase="Running", ready=True, owner=rs),
        make_pod("unready", node="a", phase="Running", ready=False, owner=rs),
        make_pod("unbound", owner=rs),
        make_pod("pending", node="a", owner=rs),
    ]
    assert [p.metadata.name for p in sets.plan(rs, pods, pods, NOW).delete] == ["unbound", "pending", "unready"]


def running(name: str, *, node: str = "a", age: int = 1000, restarts: int = 0, cost: str = "") -> core_v1.Pod:
    notes = {sets.DELETION_COST: cost} if cost else {}
    born = NOW - timedelta(seconds=age)
    pod = make_pod(name, node=node, phase="Running", metadata={"creation_timestamp": born, "annotations": notes})
    status = core_v1.PodStatus(
        phase="Running",
        conditions=[core_v1.PodCondition(type="Ready", status="True", last_transition_time=born)],
        container_statuses=[core_v1.ContainerStatus(name="c", restart_count=restarts)],
    )
    return replace(pod, status=status)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (running("x", cost="-5"), running("y")),
        (running("x", cost="-5"), running("y", age=1, restarts=9)),
        (running("x", age=10), running("y", age=100)),
        (running("x", age=1000, restarts=3), running("y", age=900)),
        (running("x", cost="nonsense", age=10), running("y", cost="0")),
    ],
    ids=["cost", "cost before age", "young", "restarted, of much the same age", "a cost that is no number is none"],
)
def test_of_ready_pods_the_cheap_the_young_and_the_restarted_go_first(first: core_v1.Pod, second: core_v1.Pod) -> None:
    pods = [second, first]
    (gone,) = sets.plan(make_replicaset(replicas=1), pods, pods, NOW).delete
    assert gone is first


def test_pods_crowded_with_those_of_the_same_deployment_go_first() -> None:
    own = [running("x", node="full"), running("y", node="empty", age=1)]
    other = running("of-the-old-set", node="full")
    (gone,) = sets.plan(make_replicaset(replicas=1), own, [*own, other], NOW).delete
    assert gone is own[0]


def test_scaling_in_the_middle_of_a_rollout_is_shared_out() -> None:
    rollout = Rollout(make_deployment(replicas=10, surge=3, unavailable=2))
    rollout.finish(Random(1))
    changed = replace(rollout.deployment.spec, template=make_template(image="app:2"))
    rollout.deployment = replace(rollout.deployment, spec=changed)
    for _ in range(3):  # 8 old ones and 5 new ones, which are not ready
        rollout.step()
    assert sorted(replicas(rs) for rs in rollout.sets.values()) == [5, 8]
    rollout.deployment = replace(rollout.deployment, spec=replace(changed, replicas=15))
    rollout.step()
    sizes = {rs.spec.template.spec.containers[0].image: replicas(rs) for rs in rollout.sets.values()}
    assert sizes == {"app:1": 11, "app:2": 7}


def test_pods_that_fail_after_the_rollout_do_not_make_it_a_failed_one() -> None:
    rollout = Rollout(make_deployment(progress_deadline_seconds=10))
    rollout.finish(Random(1))
    for ready in (0, 1, 1):
        for name, rs in rollout.sets.items():
            status = replace(rs.status, ready_replicas=ready, available_replicas=ready)
            rollout.sets[name] = replace(rs, status=status)
        late = plan(rollout.deployment, list(rollout.sets.values()), [], NOW + timedelta(hours=1))
        rollout.deployment = replace(rollout.deployment, status=late.status)
    reasons = {c.type: (c.status, c.reason) for c in rollout.deployment.status.conditions}
    assert reasons == {
        "Available": ("False", "MinimumReplicasUnavailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


def test_old_sets_beyond_the_history_go_oldest_first() -> None:
    rollout = Rollout(make_deployment(revision_history_limit=1))
    rng = Random(1)
    for number in range(4):
        spec = replace(rollout.deployment.spec, template=make_template(image=f"app:{number}"))
        rollout.deployment = replace(rollout.deployment, spec=spec)
        rollout.finish(rng)
    todo = plan(rollout.deployment, list(rollout.sets.values()), [], NOW)
    assert [rs.spec.template.spec.containers[0].image for rs in todo.delete] == ["app:0", "app:1"]


def test_claims_go_by_owner_first() -> None:
    rs, other = make_replicaset(), make_replicaset("other")
    labels = {"app": "web"}
    claims = claim(
        rs,
        label_query(rs.spec.selector),
        [
            make_pod("mine", owner=rs, labels=labels),
            make_pod("orphan", labels=labels),
            make_pod("theirs", owner=other, labels=labels),
            make_pod("relabelled", owner=rs, labels={"app": "x"}),
        ],
    )
    assert [p.metadata.name for p in claims.own] == ["mine", "orphan"]
    assert [p.metadata.name for p in claims.adopt] == ["orphan"]
    assert [p.metadata.name for p in claims.release] == ["relabelled"]
