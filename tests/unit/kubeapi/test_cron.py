"""When schedules come due."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeapi.cron import parse


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01 00:00:30", "2026-01-01 00:01"),
        ("*/15 * * * *", "2026-01-01 00:45", "2026-01-01 01:00"),
        ("5/20 3 * * *", "2026-01-01 03:05", "2026-01-01 03:25"),
        ("0 9-17/4 * * mon-fri", "2026-01-02 17:30", "2026-01-05 09:00"),
        ("30 4 1,15 * 5", "2026-01-02 04:30", "2026-01-09 04:30"),
        ("0 0 29 2 *", "2026-01-01 00:00", "2028-02-29 00:00"),
        ("0 0 * jan,JUL 7", "2026-02-01 00:00", "2026-07-05 00:00"),
        ("@daily", "2026-12-31 23:59", "2027-01-01 00:00"),
    ],
)
def test_the_next_time(schedule: str, after: str, expected: str) -> None:
    assert parse(schedule).after(at(after)) == at(expected)


def test_a_day_that_never_comes() -> None:
    assert parse("0 0 30 2 *").after(at("2026-01-01")) is None


def test_time_zones_and_their_changes() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    night = parse("30 2 * * *")
    assert night.after(at("2026-01-01 12:00"), berlin) == at("2026-01-02 01:30")
    assert night.after(at("2026-03-28 12:00"), berlin) == at("2026-03-30 00:30"), "29 March has no 02:30"
    first = night.after(at("2026-10-24 12:00"), berlin)
    assert first == at("2026-10-25 00:30")
    assert night.after(first, berlin) == at("2026-10-26 01:30"), "the second 02:30 does not count"


@pytest.mark.parametrize(
    "text", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "a * * * *",
             "5-1 * * * *", "*/0 * * * *", "@often", "TZ=UTC * * * * *", "-1 * * * *", "1- * * * *", "² * * * *"],
)  # fmt: skip
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


@settings(deadline=None)
@given(st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)), st.integers(0, 59), st.integers(0, 23))
def test_the_next_time_is_later_and_matches_and_none_is_skipped(moment: datetime, minute: int, hour: int) -> None:
    moment = moment.replace(tzinfo=UTC)
    found = parse(f"{minute} {hour} * * *").after(moment)
    assert found is not None
    assert timedelta(0) < found - moment <= timedelta(days=1)
    assert (found.minute, found.hour, found.second) == (minute, hour, 0)
