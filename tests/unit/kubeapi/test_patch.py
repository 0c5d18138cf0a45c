"""The three patch types, by table."""

from __future__ import annotations

from typing import Any

import pytest

from kubeapi.errors import BadRequest, Invalid
from kubeapi.patch import json_patch, merge_key_of, merge_patch, strategic_merge_patch
from kubeapi.types import apps_v1, core_v1


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_as_rfc_7386_shows_it(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@pytest.mark.parametrize(
    ("target", "operations", "result"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": 1, "b": 2}, [{"op": "remove", "path": "/a"}], {"b": 2}),
        ({"a": 1}, [{"op": "replace", "path": "/a", "value": 5}], {"a": 5}),
        ({"a": {"x": 1}}, [{"op": "move", "from": "/a/x", "path": "/y"}], {"a": {}, "y": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/a~1b"}, {"op": "remove", "path": "/c~0d"}], {}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}], {"a": 1}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": 2}], 2),
    ],
)
def test_json_patch(target: Any, operations: Any, result: Any) -> None:
    assert json_patch(target, operations) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/nope"},
        {"op": "replace", "path": "/nope", "value": 1},
        {"op": "add", "path": "/l/9", "value": 1},
        {"op": "add", "path": "/l/²", "value": 1},
        {"op": "add", "path": "/l/00", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_fit_is_invalid(operation: Any) -> None:
    with pytest.raises(Invalid):
        json_patch({"a": 1, "l": []}, [operation])


@pytest.mark.parametrize(
    "patch", [{}, "x", [1], [{"op": "add"}], [{"op": "boo", "path": "/a"}], [{"op": "add", "path": "a"}]]
)
def test_what_is_no_json_patch_is_refused(patch: Any) -> None:
    with pytest.raises(BadRequest):
        json_patch({}, patch)


def pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"containers": list(containers), **spec}}


def test_keyed_lists_merge_and_keep_what_the_patch_does_not_name() -> None:
    old = pod({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}, {"name": "b", "image": "1"})
    patch = pod({"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]})
    assert strategic_merge_patch(core_v1.Pod, old, patch) == pod(
        {"name": "a", "image": "2", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "1"},
    )


def test_directives() -> None:
    old = pod({"name": "a"}, {"name": "b"}, nodeSelector={"x": "1", "y": "2"})
    patch = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "b", "$patch": "delete"}, {"name": "c", "image": "n"}],
            "nodeSelector": {"$patch": "replace", "z": "3"},
        }
    }
    assert strategic_merge_patch(core_v1.Pod, old, patch) == pod(
        {"name": "c", "image": "n"}, {"name": "a"}, nodeSelector={"z": "3"}
    )


def test_lists_of_scalars_merge_and_shrink() -> None:
    old = {"metadata": {"finalizers": ["a", "b"]}}
    patch = {"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]}}
    merged = strategic_merge_patch(core_v1.Pod, old, patch)
    assert set(merged["metadata"]["finalizers"]) == {"b", "c"}


def test_retained_keys_and_nulls() -> None:
    old = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}, "paused": True}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}, "paused": None}}
    assert strategic_merge_patch(apps_v1.Deployment, old, patch) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_an_element_without_its_key_is_named() -> None:
    with pytest.raises(BadRequest, match=r"spec\.containers\[0\]: the element has no 'name'"):
        strategic_merge_patch(core_v1.Pod, pod(), pod({"image": "x"}))


def test_merge_keys_come_from_the_schema() -> None:
    assert merge_key_of(apps_v1.Deployment, ("spec", "template", "spec", "containers")) == "name"
    assert merge_key_of(core_v1.Pod, ("spec", "containers", "ports")) == "containerPort"
    assert merge_key_of(core_v1.Pod, ("spec", "tolerations")) == ""
    assert merge_key_of(core_v1.Pod, ("spec", "nope")) == ""


@pytest.mark.parametrize(
    ("held", "asked", "fits"),
    [
        (True, 1, False),
        (0, False, False),
        (1, 1.0, True),
        ([{"a": True}], [{"a": 1}], False),
        ({"a": 1}, {"a": 1}, True),
    ],
)
def test_a_json_patch_tests_values_as_json_has_them(held: object, asked: object, fits: bool) -> None:
    operations = [{"op": "test", "path": "/x", "value": asked}]
    if fits:
        assert json_patch({"x": held}, operations) == {"x": held}
    else:
        with pytest.raises(Invalid, match="the test failed"):
            json_patch({"x": held}, operations)
