"""What is wrong with a body is said by path; what Go's decoder accepts is accepted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeapi import codec
from kubeapi.errors import BadRequest
from kubeapi.types import apps_v1, core_v1


def test_unknown_and_duplicate_fields_are_named_by_path() -> None:
    body = b"""{"kind": "Pod", "spec": {"containers": [{"name": "c", "imagee": "x"}], "foo": 1,
               "nodeName": "a", "nodeName": "b"}, "bar": {}}"""
    pod, problems = codec.decode_strict(core_v1.Pod, body)
    assert problems == [
        'unknown field "spec.containers[0].imagee"',
        'unknown field "spec.foo"',
        'unknown field "bar"',
        'duplicate field "spec.nodeName"',
    ]
    assert pod.spec.node_name == "b"
    assert pod.spec.containers[0].name == "c"


def test_a_faultless_body_has_no_problems() -> None:
    assert codec.decode_strict(core_v1.Pod, b'{"spec": {"nodeName": "a"}}')[1] == []


def test_null_counts_as_absent_wherever_it_stands() -> None:
    body = b'{"metadata": {"creationTimestamp": null, "labels": null}, "spec": {"containers": null, "nodeName": null}}'
    assert codec.decode(core_v1.Pod, body) == core_v1.Pod()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"spec": {"replicas": "3"}}', "spec.replicas: expected int | null, got str"),
        (b'{"spec": {"template": {"spec": {"containers": {}}}}}', "spec.template.spec.containers: expected array"),
        (b'{"spec": {"replicas": 3000000000}}', "spec.replicas: expected int <= 2147483647"),
        (b"[]", "expected object, got array"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b'{"metadata": {"creationTimestamp": "yesterday"}}', "metadata.creationTimestamp"),
    ],
)
def test_a_wrong_type_names_its_field(body: bytes, message: str) -> None:
    with pytest.raises(BadRequest) as caught:
        codec.decode(apps_v1.Deployment, body)
    assert message in str(caught.value)


def test_fields_that_clients_insist_on_are_written_though_zero() -> None:
    status = core_v1.ContainerStatus(name="c")
    assert codec.to_builtins(status)["ready"] is False
    assert codec.to_builtins(status)["restartCount"] == 0


def test_yaml_keeps_dates_as_text_and_refuses_a_name_given_twice() -> None:
    assert codec.load_yaml("a: 2026-01-01\n---\n---\nb: 1\n") == [{"a": "2026-01-01"}, {"b": 1}]
    assert codec.load_yaml('a: [=, "=", ==]\n') == [{"a": ["=", "=", "=="]}]
    with pytest.raises(BadRequest, match='duplicate field "a"'):
        codec.load_yaml("a: 1\na: 2\n")
    with pytest.raises(BadRequest, match="mapping"):
        codec.load_yaml("- a\n")


@given(st.binary(max_size=200))
def test_no_bytes_break_the_decoders(data: bytes) -> None:
    for decode in (codec.decode, codec.decode_strict, codec.decode_protobuf):
        try:
            decode(core_v1.Pod, data)
        except BadRequest:
            continue


@given(st.binary(max_size=200))
def test_no_protobuf_message_breaks_the_decoder(data: bytes) -> None:
    from kubeapi.pb.kubernetes.runtime_pb2 import Unknown

    body = b"k8s\x00" + Unknown(raw=data).SerializeToString()
    try:
        codec.decode_protobuf(core_v1.Pod, body)
    except BadRequest:
        return


@pytest.mark.parametrize(
    "body",
    [
        b'{"foo": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"foo": "\xff"}',
        b'{"spec": {"nodeName": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}}",
    ],
    ids=["deep unknown field", "bad UTF-8 in an unknown field", "deep where a text belongs"],
)
def test_hostile_bodies_are_refused(body: bytes) -> None:
    for decode in (codec.decode, codec.decode_strict):
        with pytest.raises(BadRequest):
            decode(core_v1.Pod, body)


def test_a_time_beyond_the_calendar_is_refused() -> None:
    from kubeapi.pb.kubernetes.core_v1_pb2 import Pod
    from kubeapi.pb.kubernetes.runtime_pb2 import Unknown

    pod = Pod()
    pod.metadata.creation_timestamp.seconds = 2**62
    with pytest.raises(BadRequest):
        codec.decode_protobuf(core_v1.Pod, b"k8s\x00" + Unknown(raw=pod.SerializeToString()).SerializeToString())


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ('{"data":{"a":"1","a":"2"}}', ['duplicate field "data.a"']),
        ('{"data" :{"a":"1"},"data":{}}', ['duplicate field "data"']),
        ('{"data":{"a\\"":"1","a\\"":"2"}}', ['duplicate field "data.a""']),
        ('{"data":{"a\\\\":"1","a\\\\":"2"}}', ['duplicate field "data.a\\"']),
        ('{"data":{"a":"\\":\\":","b":"{\\"x\\":1,\\"x\\":2}"}}', []),
        ('{"data":{"a\\u0041":"1","b":"\\\\"}}', []),
    ],
)
def test_duplicates_are_found_whatever_is_escaped(text: str, problems: list[str]) -> None:
    assert codec.decode_strict(core_v1.ConfigMap, text)[1] == problems


def test_a_time_is_a_whole_second_of_utc_and_a_microtime_keeps_its_fraction() -> None:
    text = (
        b'{"metadata":{"creationTimestamp":"2026-01-01T02:00:00.75+02:00"},"eventTime":"2026-01-01T00:00:00.750000Z"}'
    )
    event = codec.decode(core_v1.Event, text)
    assert codec.to_builtins(event)["metadata"]["creationTimestamp"] == "2026-01-01T00:00:00Z"
    assert event.event_time == "2026-01-01T00:00:00.750000Z"
    conditions = {"status": {"conditions": [{"type": "R", "lastTransitionTime": "2026-01-01T00:00:00.9Z"}]}}
    pod = codec.from_builtins(core_v1.Pod, conditions)
    assert pod.status.conditions[0].last_transition_time == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_yaml_mapping_may_override_what_it_merges_in() -> None:
    text = "a: &base {x: 1, y: 2}\nb:\n  <<: *base\n  y: 3\nc:\n  <<: *base\n"
    assert codec.load_yaml(text) == [{"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}]
    with pytest.raises(BadRequest, match="duplicate field"):
        codec.load_yaml("a: 1\na: 2")
