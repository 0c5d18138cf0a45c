"""Names of objects, by RFC 1123's words and not by a pattern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.apiserver.validation import name_faults

NAMES = st.text(alphabet="az09-._Aé\n", max_size=9)


def is_good(name: str, rule: str) -> bool:
    return not list(name_faults("metadata.name", name, rule))


def is_label(text: str) -> bool:
    return bool(text) and set(text) <= set("az09-") and not text.startswith("-") and not text.endswith("-")


@given(NAMES)
def test_a_label_is_letters_and_digits_with_dashes_inside(name: str) -> None:
    assert is_good(name, "label") == is_label(name)


@given(NAMES)
def test_a_subdomain_is_labels_with_dots_between(name: str) -> None:
    assert is_good(name, "subdomain") == all(map(is_label, name.split(".")))


@pytest.mark.parametrize(("rule", "longest"), [("label", 63), ("subdomain", 253)])
def test_a_name_has_its_length(rule: str, longest: int) -> None:
    assert is_good("a" * longest, rule) and not is_good("a" * (longest + 1), rule)


@given(st.text(alphabet="a/%.:\n", max_size=4))
def test_a_name_of_rbac_is_one_step_of_a_path(name: str) -> None:
    assert is_good(name, "path") == (name not in (".", "..") and not {"/", "%"} & set(name))
