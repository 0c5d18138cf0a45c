"""Small texts that many columns share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime


def age(then: datetime | None, now: datetime) -> str:
    """`45s`, `7m3s`, `3h12m`, `5d`, as kubectl's duration.HumanDuration writes them."""
    if then is None:
        return "<unknown>"
    return human((now - then).total_seconds())


def human(seconds: float) -> str:
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    s = max(s, 0)
    minutes, hours, days = s // 60, s // 3600, s // 86400
    if s < 120:
        return f"{s}s"
    if minutes < 10:
        return f"{minutes}m" + (f"{s % 60}s" if s % 60 else "")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h" + (f"{minutes % 60}m" if minutes % 60 else "")
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d" + (f"{hours % 24}h" if hours % 24 else "")
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y" + (f"{days % 365}d" if days % 365 else "")
    return f"{years}y"


def pairs(mapping: Mapping[str, str]) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted(mapping.items())) or "<none>"


def joined(words: Iterable[str], empty: str = "<none>") -> str:
    return ",".join(words) or empty
