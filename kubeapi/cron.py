"""Cron schedules: five fields or @hourly and its like, in a time zone.

Days of month and of week are alternatives when both are restricted, as cron has always had it. In the hour that a
change to summer time skips nothing happens; in the hour that comes twice, what was due happens the first time only.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

NAMED = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = timedelta(days=366 * 8 + 3)
"""Within this time every schedule that ever comes due does so: 29 February skips at most eight years."""


@dataclass(frozen=True, slots=True)
class Schedule:
    minutes: Collection[int]
    hours: Collection[int]
    days: Collection[int]
    months: Collection[int]
    weekdays: Collection[int]
    """0 is Sunday."""
    any_day: bool
    """`*` for the day of the month: only the weekday counts."""
    any_weekday: bool

    def after(self, moment: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time later than `moment`, in UTC; None: never (30 February)."""
        here = moment.astimezone(zone).replace(second=0, microsecond=0, tzinfo=None) + timedelta(minutes=1)
        end = here + _LONGEST
        while here < end:
            if here.month not in self.months or not self._on(here):
                here = (here + timedelta(days=1)).replace(hour=0, minute=0)
            elif here.hour not in self.hours:
                here = (here + timedelta(hours=1)).replace(minute=0)
            elif here.minute not in self.minutes:
                here += timedelta(minutes=1)
            else:
                found = here.replace(tzinfo=zone).astimezone(UTC)
                skipped = found.astimezone(zone).replace(tzinfo=None) != here
                if not skipped and found > moment:
                    return found
                here += timedelta(minutes=1)
        return None

    def _on(self, day: datetime) -> bool:
        in_month, in_week = day.day in self.days, (day.weekday() + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def parse(text: str) -> Schedule:
    """Raises ValueError, which says what is wrong."""
    if "TZ=" in text:
        raise ValueError("TZ or CRON_TZ may not be in the schedule: use timeZone")
    if text.startswith("@"):
        if text not in NAMED:
            raise ValueError(f"unknown name {text!r}; known are {', '.join(NAMED)}")
        text = NAMED[text]
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {text!r}")
    return Schedule(
        minutes=_field(fields[0], 0, 59),
        hours=_field(fields[1], 0, 23),
        days=_field(fields[2], 1, 31),
        months=_field(fields[3], 1, 12, _MONTHS, 1),
        weekdays=frozenset(d % 7 for d in _field(fields[4], 0, 7, _DAYS)),
        any_day=_is_star(fields[2]),
        any_weekday=_is_star(fields[4]),
    )


def zone_of(name: str | None) -> tzinfo:
    """Raises ValueError for a zone that is not known here."""
    if not name:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise ValueError(f"unknown time zone {name!r}") from error


def _is_star(field: str) -> bool:
    return field.split("/")[0] in ("*", "?")


def _field(text: str, low: int, high: int, names: Sequence[str] = (), base: int = 0) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, 1, high) if slash else 1
        if _is_star(span):
            first, last = low, high
        else:
            start, dash, end = span.partition("-")
            first = _value(start, low, high, names, base)
            last = _value(end, low, high, names, base) if dash else (high if slash else first)
        if first > last:
            raise ValueError(f"{part!r}: {first} is after {last}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _value(text: str, low: int, high: int, names: Sequence[str], base: int) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + base
    return _number(text, low, high)


def _number(text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is not a number")
    if not low <= int(text) <= high:
        raise ValueError(f"{text} is not between {low} and {high}")
    return int(text)
