"""Exact quantities: `100m`, `1.5Gi`, `1e3`. Values are Fractions; nothing is ever rounded but by ceil on request.

Source: Kubernetes API conventions, resource quantities: decimal suffixes n u m "" k M G T P E, binary Ki ... Ei, or a
decimal exponent. The canonical form keeps the family of suffixes that was written, has no fraction, and the largest
suffix for which that is so.
"""

from __future__ import annotations

import functools
import math
import re
from fractions import Fraction

from kubeapi.errors import BadRequest

Quantity = str | int | float

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_SYNTAX = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_MOST_DIGITS = 64


MOST = 2**63 - 1
"""As in Kubernetes, more is taken to be this much."""


@functools.lru_cache(maxsize=4096)
def parse(quantity: Quantity) -> Fraction:
    """The exact value, up to MOST either way. Raises BadRequest."""
    return max(Fraction(-MOST), min(_exact(quantity), Fraction(MOST)))


def _exact(quantity: Quantity) -> Fraction:
    number, exponent, suffix = _split(quantity)
    if exponent:
        return number * power_of_ten(int(exponent[1:]))
    if suffix in BINARY:
        return number * (1 << BINARY[suffix])
    return number * power_of_ten(DECIMAL[suffix])


def power_of_ten(power: int) -> Fraction:
    return Fraction(10**power) if power >= 0 else Fraction(1, 10**-power)


def _split(quantity: Quantity) -> tuple[Fraction, str, str]:
    text = quantity if isinstance(quantity, str) else repr(quantity)
    match = _SYNTAX.fullmatch(text) if len(text) <= _MOST_DIGITS else None
    if match is None:
        raise BadRequest(
            f"quantities must match the regular expression "
            f"'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$': {text[:_MOST_DIGITS]!r}"
        )
    return Fraction(match.group(1)), match.group(2) or "", match.group(3) or ""


@functools.lru_cache(maxsize=4096)
def canonical(quantity: Quantity) -> str:
    """`1000m` -> `1`, `1024Mi` -> `1Gi`, `0.5` -> `500m`. Raises BadRequest."""
    _, exponent, suffix = _split(quantity)
    value = parse(quantity)
    if value == 0:
        return "0"
    if suffix in BINARY and value.denominator == 1 and abs(value) >= 1024:
        return format_binary(int(value))
    if exponent:
        return _format(value, [(f"e{p}" if p else "", p) for p in range(18, -10, -3)])
    return format_decimal(value)


def format_decimal(value: Fraction | int) -> str:
    if value == 0:
        return "0"
    return _format(Fraction(value), [(s, p) for s, p in sorted(DECIMAL.items(), key=lambda x: -x[1])])


def format_binary(value: int) -> str:
    for suffix, power in reversed(BINARY.items()):
        if value % (1 << power) == 0:
            return f"{value >> power}{suffix}"
    return str(value)


def _format(value: Fraction, suffixes: list[tuple[str, int]]) -> str:
    for suffix, power in suffixes:
        scaled = value / power_of_ten(power)
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    suffix, power = suffixes[-1]
    away = math.ceil if value > 0 else math.floor
    return f"{away(value / power_of_ten(power))}{suffix}"


def milli(quantity: Quantity) -> int:
    """Thousandths, rounded up: the unit of CPU."""
    return math.ceil(parse(quantity) * 1000)


def whole(quantity: Quantity) -> int:
    """Whole units, rounded up: bytes, pods."""
    return math.ceil(parse(quantity))


def add(*quantities: Quantity) -> str:
    """The exact sum, in the first one's family of suffixes."""
    total = sum((parse(q) for q in quantities), Fraction(0))
    binary = bool(quantities) and _split(quantities[0])[2] in BINARY
    return format_binary(int(total)) if binary and total.denominator == 1 and total else format_decimal(total)
