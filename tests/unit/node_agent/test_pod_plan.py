"""The plan for one pod, table by table."""

from datetime import timedelta

import pytest

from node_agent.pod_plan import Blocked, Observed, Plan, ProbeReport, plan_pod, restart_delay
from node_agent.runtimes.interface import Container
from tests.unit.node_agent.pods import NOW, ended, made, pod, sandbox, wish


def plan(thing: object, *containers: Container, **observed: object) -> Plan:
    return plan_pod(thing, Observed(containers=containers, **observed), NOW)  # type: ignore[arg-type]


def starts(found: Plan) -> list[tuple[str, int, int]]:
    return [(s.wish.name, s.attempt, s.backoff_step) for s in found.start]


def test_a_new_pod_gets_its_sandbox_first() -> None:
    found = plan(pod())
    assert found.sandbox_attempt == 0
    assert not found.start


def test_apps_start_together_once_the_sandbox_runs() -> None:
    found = plan(pod(wish("a"), wish("b")), sandbox())
    assert starts(found) == [("a", 0, 0), ("b", 0, 0)]


def test_what_runs_well_is_left_alone() -> None:
    assert plan(pod(), sandbox(), made()) == Plan(start=[], stop=[], remove=[])


@pytest.mark.parametrize(
    ("policy", "code", "restarted", "finished"),
    [
        ("Always", 0, True, ""),
        ("Always", 1, True, ""),
        ("OnFailure", 1, True, ""),
        ("OnFailure", 0, False, "Succeeded"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 3, False, "Failed"),
    ],
)
def test_restart_policy(policy: str, code: int, restarted: bool, finished: str) -> None:
    found = plan(pod(restart_policy=policy), sandbox(), ended(code=code))
    assert bool(found.start) is restarted
    assert found.finished == finished


def test_one_end_does_not_finish_a_pod_with_another_container() -> None:
    found = plan(pod(wish("a"), wish("b"), restart_policy="Never"), sandbox(), ended("a", 0), made("b"))
    assert found.finished == ""
    assert not found.start


def test_delays_double_up_to_five_minutes() -> None:
    assert [restart_delay(step) for step in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]


def test_a_crash_loop_waits_and_says_until_when() -> None:
    crashed = ended(attempt=2, backoff_step=2, ago=5)
    found = plan(pod(), sandbox(), crashed)
    assert not found.start
    assert found.look_again == NOW + timedelta(seconds=15)
    later = plan_pod(pod(), Observed(containers=[sandbox(), crashed]), NOW + timedelta(seconds=15))
    assert starts(later) == [("c", 3, 3)]


def test_a_long_run_forgives_earlier_crashes() -> None:
    found = plan(pod(), sandbox(), ended(attempt=5, backoff_step=5, ran=601))
    assert starts(found) == [("c", 6, 1)]


def test_init_containers_run_one_after_the_other() -> None:
    thing = pod(inits=[wish("i1"), wish("i2")])
    assert starts(plan(thing, sandbox())) == [("i1", 0, 0)]
    assert starts(plan(thing, sandbox(), made("i1", kind="init"))) == []
    done = ended("i1", 0, kind="init")
    assert starts(plan(thing, sandbox(), done)) == [("i2", 0, 0)]
    assert starts(plan(thing, sandbox(), done, ended("i2", 0, kind="init"))) == [("c", 0, 0)]


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    found = plan(pod(inits=[wish("i")], restart_policy="Never"), sandbox(), ended("i", 1, kind="init"))
    assert found.finished == "Failed"


def test_a_sidecar_lets_the_apps_start_once_it_is_started() -> None:
    thing = pod(inits=[wish("side", restart_policy="Always")])
    side = made("side", kind="init")
    assert starts(plan(thing, sandbox(), side)) == []
    passed = {side.id: ProbeReport(started=True)}
    assert starts(plan(thing, sandbox(), side, probes=passed)) == [("c", 0, 0)]


def test_a_sidecar_is_restarted_beside_running_apps() -> None:
    thing = pod(inits=[wish("side", restart_policy="Always")], restart_policy="Never")
    found = plan(thing, sandbox(), ended("side", 0, kind="init"), made())
    assert starts(found) == [("side", 1, 1)]


def test_a_failed_probe_stops_the_container() -> None:
    found = plan(pod(), sandbox(), made(), probes={"c-0": ProbeReport(failed="failed liveness probe")})
    assert [(s.container.id, s.message) for s in found.stop] == [
        ("c-0", "Container c failed liveness probe, will be restarted")
    ]


def test_a_new_image_replaces_the_container() -> None:
    found = plan(pod(), sandbox(), made(spec_hash="another"))
    assert [s.container.id for s in found.stop] == ["c-0"]


def test_a_dead_sandbox_takes_its_containers_along() -> None:
    dead = sandbox(state="exited", finished=NOW)
    assert [s.container.id for s in plan(pod(), dead, made()).stop] == ["c-0"]
    found = plan(pod(), dead, ended())
    assert found.sandbox_attempt == 1
    assert found.remove == ["sandbox-0"]


def test_a_blocked_container_waits_for_its_time() -> None:
    blocked = {"c": Blocked("ErrImagePull", "no", NOW + timedelta(seconds=10))}
    found = plan(pod(), sandbox(), blocked=blocked)
    assert not found.start
    assert found.look_again == NOW + timedelta(seconds=10)


def test_a_pod_past_its_deadline_fails() -> None:
    thing = pod(active_deadline_seconds=30)
    early = plan(thing, sandbox(), made(), start_time=NOW - timedelta(seconds=29))
    assert (early.finished, early.look_again) == ("", NOW + timedelta(seconds=1))
    late = plan(thing, sandbox(), made(), start_time=NOW - timedelta(seconds=30))
    assert (late.finished, late.reason) == ("Failed", "DeadlineExceeded")


def test_the_last_two_attempts_are_kept() -> None:
    history = [ended(attempt=n, id=f"c-{n}") for n in range(3)]
    found = plan(pod(), sandbox(), *history, made(attempt=3))
    assert sorted(found.remove) == ["c-0", "c-1"]


def test_a_new_sandbox_runs_init_containers_again_before_the_apps() -> None:
    thing = pod(inits=[wish("init")])
    lost = [ended("init", 0, ago=50, kind="init"), ended("c", 137, ago=1)]
    found = plan(thing, sandbox(created=NOW), *lost)
    assert starts(found) == [("init", 1, 1)]
    again = made("init", attempt=1, kind="init", state="exited", created=NOW + timedelta(seconds=1), finished=NOW)
    found = plan(thing, sandbox(created=NOW), *lost, again)
    assert starts(found) == [("c", 1, 1)]


def test_in_the_same_sandbox_they_run_once() -> None:
    thing = pod(inits=[wish("init")])
    old = sandbox(created=NOW - timedelta(hours=1))
    assert starts(plan(thing, old, ended("init", 0, ago=50, kind="init"), ended("c", 1))) == [("c", 1, 1)]
