"""apply keeps what others wrote, and takes back only what it wrote itself."""

from __future__ import annotations

from typing import Any

import pytest

from kubectl_lite.merge3 import merge


def key_of(path: tuple[str, ...]) -> str:
    return {("containers",): "name"}.get(path, "")


@pytest.mark.parametrize(
    ("last", "new", "live", "expected"),
    [
        pytest.param({"a": 1}, {"a": 2}, {"a": 1, "b": 3}, {"a": 2, "b": 3}, id="others' fields stay"),
        pytest.param({"a": 1, "b": 1}, {"a": 1}, {"a": 1, "b": 1}, {"a": 1}, id="dropped from the manifest, dropped"),
        pytest.param({}, {"a": 1}, {"a": 1, "b": 1}, {"a": 1, "b": 1}, id="never applied: nothing is taken away"),
        pytest.param({"a": 1}, {"a": None}, {"a": 1}, {}, id="null takes a field away"),
        pytest.param({"l": [1, 2]}, {"l": [3]}, {"l": [1, 2, 9]}, {"l": [3]}, id="a plain list is replaced"),
        pytest.param({"a": {"b": 1}}, {"a": {"c": 1}}, {"a": {"b": 1, "d": 1}}, {"a": {"c": 1, "d": 1}}, id="deep"),
        pytest.param({"a": 1}, {"a": {"b": 1}}, {"a": 1}, {"a": {"b": 1}}, id="a changed type is replaced"),
    ],
)
def test_maps(last: Any, new: Any, live: Any, expected: Any) -> None:
    assert merge(last, new, live, key_of) == expected


def test_keyed_lists_merge_by_element() -> None:
    last = {"containers": [{"name": "a", "image": "1"}, {"name": "gone", "image": "1"}]}
    new = {"containers": [{"name": "b", "image": "2"}, {"name": "a", "image": "2"}]}
    live = {
        "containers": [
            {"name": "a", "image": "1", "pullPolicy": "Always"},
            {"name": "gone", "image": "1"},
            {"name": "injected", "image": "9"},
        ]
    }
    assert merge(last, new, live, key_of) == {
        "containers": [
            {"name": "b", "image": "2"},
            {"name": "a", "image": "2", "pullPolicy": "Always"},
            {"name": "injected", "image": "9"},
        ]
    }


def test_what_was_applied_and_is_applied_again_changes_nothing() -> None:
    applied = {"spec": {"replicas": 3, "template": {"labels": {"a": "b"}}}}
    live = {"spec": {"replicas": 3, "template": {"labels": {"a": "b"}}, "strategy": "x"}, "status": {"ready": 3}}
    assert merge(applied, applied, live, key_of) == live
