"""Bodies with a part in common: read as codec.decode_strict reads them, and their part is one object."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeapi import codec
from kubeapi.codec_shared import LARGEST_PART, MOST_PARTS, SharedPart
from kubeapi.errors import BadRequest
from kubeapi.types import core_v1

SPEC = {"containers": [{"name": "main", "image": "busybox", "command": ["sh", "-c", 'echo "{}"']}], "nodeName": "a"}


def body(name: str = "a", spec: Any = SPEC, **metadata: Any) -> bytes:
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}
    return json.dumps(made, separators=(",", ":")).encode()


@pytest.fixture
def pods() -> SharedPart[core_v1.Pod]:
    return SharedPart(core_v1.Pod, "spec")


def test_pods_of_one_template_have_one_spec(pods: SharedPart[core_v1.Pod]) -> None:
    first, second = pods.decode(body("a")), pods.decode(body("b", labels={"app": "web"}))
    assert first is not None and second is not None
    assert first.spec is second.spec
    assert (first, second) == (
        codec.decode(core_v1.Pod, body("a")),
        codec.decode(core_v1.Pod, body("b", labels={"app": "web"})),
    )


TOLD_ELSEWHERE = {
    "no JSON": b'{"spec":',
    "no object": b"[]",
    "no spec": b'{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"}}',
    "an empty spec": body(spec=None),
    "an unknown field": body(color="red"),
    "an unknown field of the spec": body(spec={**SPEC, "color": "red"}),
    "a wrong type in the spec": body(spec={**SPEC, "nodeName": 5}),
    "a field twice": body().replace(b'"name":"a"', b'"name":"a","name":"a"'),
    "a field of the spec twice": body().replace(b'"nodeName":"a"', b'"nodeName":"a","nodeName":"a"'),
    "the spec twice": body().replace(b'"spec":', b'"spec":%s,"spec":' % json.dumps(SPEC, separators=(",", ":")).encode()),
    "two specs": body().replace(b'"spec":', b'"spec":{"nodeName":"b"},"spec":'),
    "a time with a fraction": body(creationTimestamp="2026-01-01T00:00:00.5Z"),
    "what may be such a time in the spec": body(spec={**SPEC, "nodeName": "T00:00:00.5"}),
    "the part's name elsewhere before it": body(annotations={"spec": "{}"}),
}  # fmt: skip


@pytest.mark.parametrize("text", TOLD_ELSEWHERE.values(), ids=TOLD_ELSEWHERE.keys())
def test_what_is_out_of_the_ordinary_is_left_to_the_codec(pods: SharedPart[core_v1.Pod], text: bytes) -> None:
    assert pods.decode(body()) is not None
    assert pods.decode(text) is None
    assert pods.decode(text) is None, "it was not remembered either"


@pytest.mark.parametrize("text", [body(spec={}, labels={}), json.dumps(json.loads(body()), indent=2).encode()])
def test_where_the_part_stands_is_told_by_its_name(pods: SharedPart[core_v1.Pod], text: bytes) -> None:
    assert pods.decode(text) == codec.decode(core_v1.Pod, text)


def test_only_so_many_parts_are_kept_and_no_huge_one(pods: SharedPart[core_v1.Pod]) -> None:
    def spec(name: str) -> core_v1.PodSpec:
        found = pods.decode(body(spec={**SPEC, "nodeName": name}))
        assert found is not None
        return found.spec

    first, huge = spec("first"), "x" * LARGEST_PART
    for i in range(MOST_PARTS - 1):
        spec(str(i))
    assert spec(huge) is not spec(huge)
    assert spec("first") is first
    spec("one more")
    assert spec("first") is not first


TEXTS = st.sampled_from(["a", "", "{}", "{", '"', "\\", "}", "null", '{"nodeName":"a"}', '":', "T00:00:00.5", "é"])
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=4,
)
SPECS = st.fixed_dictionaries(
    {},
    optional={
        "nodeName": TEXTS,
        "nodeSelector": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "containers": st.lists(st.fixed_dictionaries({"name": TEXTS, "args": st.lists(TEXTS, max_size=2)}), max_size=2),
        "hostNetwork": VALUES,
        "odd": VALUES,
    },
)
BODIES = st.builds(
    lambda spec, labels, others, spaced: json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "annotations": labels}, "spec": spec, **others},
        separators=None if spaced else (",", ":"),
    ).encode(),
    SPECS,
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.dictionaries(st.sampled_from(["status", "kind", "odd"]), VALUES, max_size=1),
    st.booleans(),
)


@settings(deadline=None)
@given(st.lists(BODIES, min_size=1, max_size=6))
def test_it_reads_what_the_codec_reads_or_leaves_it_alone(bodies: list[bytes]) -> None:
    pods = SharedPart(core_v1.Pod, "spec")
    for text in [*bodies, *bodies]:
        found = pods.decode(text)
        try:
            expected, problems = codec.decode_strict(core_v1.Pod, text)
        except BadRequest:
            assert found is None
            continue
        assert found is None or (found == expected and not problems)
