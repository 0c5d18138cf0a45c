"""Label and field selectors."""

from __future__ import annotations

import pytest

from kubeapi.errors import BadRequest
from kubeapi.selectors import field_query, format_label_selector, label_query, parse_label_selector
from kubeapi.types import core_v1, meta_v1

LABELS = {"app": "web", "tier": "front", "weight": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("nope!=x", True),
        ("app in (web, api)", True),
        ("app notin (web)", False),
        ("app", True),
        ("!app", False),
        ("!nope", True),
        ("weight>3,weight<6", True),
        ("weight>5", False),
        ("app in (api),tier", False),
    ],
)
def test_text_form(text: str, matches: bool) -> None:
    assert parse_label_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize("text", ["a=b,", "=x", "a in b", "a in (b", "a=b c=d", "weight>x", "a b"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_label_selector(text)


def test_structs_and_their_text_form_agree() -> None:
    selector = meta_v1.LabelSelector(
        match_labels={"app": "web"},
        match_expressions=[
            meta_v1.LabelSelectorRequirement(key="tier", operator="In", values=["front", "back"]),
            meta_v1.LabelSelectorRequirement(key="old", operator="DoesNotExist"),
        ],
    )
    assert label_query(selector).matches(LABELS)
    assert parse_label_selector(format_label_selector(selector)) == label_query(selector)


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not label_query(None).matches(LABELS)
    assert label_query(meta_v1.LabelSelector()).matches(LABELS)


def test_fields() -> None:
    supported = {"spec.nodeName": lambda o: o.spec.node_name}
    pod = core_v1.Pod(spec=core_v1.PodSpec(node_name="a"))
    assert field_query("spec.nodeName=a", supported)(pod)
    assert not field_query("spec.nodeName!=a", supported)(pod)
    with pytest.raises(BadRequest, match=r"field label not supported: spec\.foo"):
        field_query("spec.foo=a", supported)
