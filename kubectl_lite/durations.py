"""Go's durations, read (`1h30m`, `90s`, `500ms`) and written as kubectl writes an age (`2d5h`, `3m10s`)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from kubectl_lite.errors import UsageError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_duration(text: str) -> float:
    """Seconds; a bare number is seconds. Raises UsageError."""
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    negative, rest, total = text.startswith("-"), text.removeprefix("-"), 0.0
    if not rest:
        raise UsageError(f"{text!r} is no duration; write 30s, 2m or 1h30m")
    while rest:
        match = _PART.match(rest)
        if match is None:
            raise UsageError(f"{text!r} is no duration; write 30s, 2m or 1h30m")
        total += float(match.group(1)) * _UNITS[match.group(2)]
        rest = rest[match.end() :]
    return -total if negative else total


def parse_time(text: str) -> datetime | None:
    """Of RFC 3339, as objects have it. None for nothing, or for what is no time."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def human(seconds: float) -> str:
    """As `get` shows ages: at most two units, fewer the older."""
    s = int(seconds)
    if seconds < 0:
        return "<invalid>" if s < -1 else "0s"
    if s < 60 * 2:
        return f"{s}s"
    minutes = s // 60
    if minutes < 10:
        return _two(minutes, "m", s % 60, "s")
    if minutes < 60 * 3:
        return f"{minutes}m"
    hours = s // 3600
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = days // 365
    return _two(years, "y", days % 365, "d") if years < 8 else f"{years}y"


def _two(big: int, big_unit: str, small: int, small_unit: str) -> str:
    return f"{big}{big_unit}{small}{small_unit}" if small else f"{big}{big_unit}"


def age(then: str, now: datetime) -> str:
    at = parse_time(then)
    return human((now - at).total_seconds()) if at is not None else "<unknown>"


def rfc1123(text: str) -> str:
    """A time as `describe` shows it: `Mon, 02 Jan 2006 15:04:05 +0000`."""
    at = parse_time(text)
    if at is None:
        return text
    days = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    local = at.astimezone()
    return f"{days[local.weekday()]}, {local.day:02} {months[local.month - 1]} {local.year} {local:%H:%M:%S} {local:%z}"
