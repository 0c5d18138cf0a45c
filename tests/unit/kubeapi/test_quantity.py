"""Quantities are exact, and written as Kubernetes writes them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeapi.errors import BadRequest
from kubeapi.quantity import add, canonical, milli, parse, whole


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("0", 0),
        ("100m", Fraction(1, 10)),
        ("1.5Gi", 3 * 2**29),
        ("1e3", 1000),
        ("5E", 5 * 10**18),
        (".5", Fraction(1, 2)),
        ("-1k", -1000),
        ("10n", Fraction(1, 10**8)),
        (2, 2),
        (0.1, Fraction(1, 10)),
        ("1e999", 2**63 - 1),
        ("-9999E", 1 - 2**63),
    ],
)
def test_value(written: str | int | float, value: Fraction) -> None:
    assert parse(written) == value


@pytest.mark.parametrize(
    ("written", "canonical_form"),
    [
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("0.5", "500m"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("1000", "1k"),
        ("123456", "123456"),
        ("0.1Gi", "107374182400m"),
        ("100", "100"),
        ("-500m", "-500m"),
        ("0Gi", "0"),
        (2, "2"),
    ],
)
def test_canonical_form(written: str | int, canonical_form: str) -> None:
    assert canonical(written) == canonical_form


@pytest.mark.parametrize("written", ["", "x", "1 Gi", "1gi", "--1", "1e", "1KiB", "9" * 100])
def test_nonsense_is_refused(written: str) -> None:
    with pytest.raises(BadRequest):
        parse(written)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi"]))
def test_the_canonical_form_has_the_same_value_and_is_stable(number: int, suffix: str) -> None:
    written = f"{number}{suffix}"
    assert parse(canonical(written)) == parse(written)
    assert canonical(canonical(written)) == canonical(written)


def test_units_round_up() -> None:
    assert milli("0.0001") == 1
    assert whole("1500m") == 2
    assert add("1Gi", "512Mi") == "1536Mi"
    assert add("100m", "0.9") == "1"
    assert add() == "0"
