"""Days where an exchange is, and the moments they begin at."""

from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.local_time import day_of, first_moment, zoned
from shared.paging import Range, page_of

ZONES = st.sampled_from(["America/New_York", "Asia/Tokyo", "Europe/London", "America/Sao_Paulo", "Pacific/Kiritimati", "UTC"])


def moment(seconds: int) -> np.datetime64:
    return np.datetime64(seconds, "s")


@given(st.dates(date(1970, 1, 3), date(2090, 1, 1)), ZONES)
def test_a_day_begins_at_its_first_moment(day: date, zone: str) -> None:
    first = first_moment(day, zone)
    assert day_of(moment(first), zone) == day
    assert day_of(moment(first - 1), zone) < day


def test_a_midnight_that_never_comes_is_the_first_moment_of_its_day() -> None:
    assert str(moment(first_moment(date(2017, 10, 15), "America/Sao_Paulo"))) == "2017-10-15T03:00:00"


def test_without_a_zone_dates_are_days() -> None:
    day = np.datetime64("2024-02-29", "D")
    assert first_moment(date(2024, 2, 29), None) == int(day.astype(np.int64))
    assert day_of(day, None) == date(2024, 2, 29)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", None])
def test_the_first_and_the_last_day_there_are_can_be_asked_for(zone: str | None) -> None:
    dates = np.array(["2024-01-02", "2024-01-03"], "datetime64[D]").astype("datetime64[s]" if zone else "datetime64[D]")
    whole = Range(date.min, date.max, "asc", 10, None, "r", "v")
    assert page_of(dates, whole, zone).rows == slice(0, 2)


MINUTES = st.lists(st.integers(0, 10_000), min_size=1, max_size=200, unique=True)


@given(MINUTES, ZONES, st.integers(1, 50), st.sampled_from(["asc", "desc"]))
def test_pages_of_moments_put_together_are_the_days_asked_for(minutes: list[int], zone: str, limit: int, order: str) -> None:
    dates = np.datetime64("2024-03-08T00:00", "s") + np.sort(np.array(minutes)) * np.timedelta64(1, "m")
    first, last = date(2024, 3, 9), date(2024, 3, 11)
    expected = [at for at in dates if first <= day_of(at, zone) <= last]
    got: list[np.datetime64] = []
    cursor = None
    while True:
        page = page_of(dates, Range(first, last, order, limit, cursor, "r", "v"), zone)  # type: ignore[arg-type]  # a literal
        got += list(dates[page.rows])
        if (cursor := page.next_cursor) is None:
            break
    assert got == (expected if order == "asc" else expected[::-1])


def test_a_column_of_moments_knows_its_zone() -> None:
    column = zoned(np.array(["2024-01-02T14:30:00", "2024-07-02T13:30:00"], "datetime64[s]"), "America/New_York")
    assert column.dt.strftime("%H:%M%:z").to_list() == ["09:30-05:00", "09:30-04:00"]
