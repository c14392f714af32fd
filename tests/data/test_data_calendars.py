"""The sessions of exchanges: as the library has them they came from, and right about days, moments and clocks."""

import subprocess
import sys
from datetime import date

import exchange_calendars
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from data_service.adapters.calendars import calendar_of, exchanges
from data_service.adapters.parquet import sample_path
from data_service.domain.bars import Dates
from data_service.domain.calendars import ALWAYS_OPEN, Calendar, Moments, SessionCalendar, utc_of
from data_service.domain.errors import UnknownExchange
from tests.data.sources import read_bars

CALENDARS = sorted(set(exchange_calendars.get_calendar_names(include_aliases=False)) - {ALWAYS_OPEN.name})
WHOLLY_COMPARED = ("XNYS", "XLON", "XTKS", "XHKG", "CMES")
COMPARED = (np.datetime64("2005-01-01"), np.datetime64("2026-12-31"))
MARGIN = np.timedelta64(30, "D")
SECOND = np.timedelta64(1, "s")
DAY = np.timedelta64(1, "D")


def days(*texts: str) -> Dates:
    return np.array(texts, "datetime64[D]")


def moments(*texts: str) -> Moments:
    return np.array(texts, "datetime64[s]")


def sessions_of(name: str) -> SessionCalendar:
    calendar = calendar_of(name)
    assert isinstance(calendar, SessionCalendar)
    return calendar


# ------------------------------------------------------------------------------------------------ as the library has them


def differences(name: str, first: np.datetime64, last: np.datetime64) -> list[str]:
    """Where the shipped sessions from `first` to `last` are not the library's, which is asked for some weeks more on both sides:
    what it says near its ends is less certain."""
    ours = sessions_of(name)
    start, end = max(first - MARGIN, ours.first), min(last + MARGIN, ours.last)
    theirs = exchange_calendars.get_calendar(name, start=str(start), end=str(end))
    listed = theirs.sessions.to_numpy().astype("datetime64[D]")
    there = (listed >= first) & (listed <= last)
    here = (ours.days >= first) & (ours.days <= last)
    if not np.array_equal(ours.days[here], listed[there]):
        return [f"{name} days: {np.setxor1d(ours.days[here], listed[there])}"]
    columns = {"open": ours.opens, "close": ours.closes, "break_start": ours.break_starts, "break_end": ours.break_ends}
    found = []
    for column, shipped in columns.items():
        times = theirs.schedule[column].dt.tz_convert(None).to_numpy().astype("datetime64[s]")[there]
        same = (shipped[here] == times) | (np.isnat(shipped[here]) & np.isnat(times))
        found += [f"{name} {column}: {day}" for day in ours.days[here][~same]]
    return found


def test_every_calendar_of_the_library_ships_under_every_name_it_has_there() -> None:
    assert set(exchanges()) == set(exchange_calendars.get_calendar_names(include_aliases=True))
    aliases = exchange_calendars.aliases_to_names()
    assert {alias: calendar_of(alias).name for alias in aliases} == aliases


@pytest.mark.parametrize("name", sorted(set(CALENDARS) - set(WHOLLY_COMPARED)))
def test_shipped_sessions_are_the_librarys_for_22_years(name: str) -> None:
    """When a newer library fails here: `make calendars`, and look at what it changes."""
    assert differences(name, *COMPARED) == []


@pytest.mark.parametrize("name", WHOLLY_COMPARED)
def test_shipped_sessions_are_the_librarys_to_the_last(name: str) -> None:
    ours = sessions_of(name)
    assert differences(name, ours.first, ours.last) == []
    assert ours.first >= np.datetime64("1970-01-01")
    assert ours.last == np.datetime64("2027-12-31")


def test_sessions_on_unusual_weekdays_ship_too() -> None:
    """A pandas that passes over the library's own offsets would drop these, and say nothing."""
    assert sessions_of("XBOM").is_session(days("2024-01-20", "2025-02-01")).all()  # Saturdays
    assert sessions_of("XKRX").is_session(days("1998-12-05")).all()  # the last Saturday
    assert sessions_of("XTAE").is_session(days("2025-12-28", "2026-01-09")).all()  # a Sunday; a Friday, from 2026 on
    assert not sessions_of("XTAE").is_session(days("2025-12-26", "2026-01-11")).any()
    assert not sessions_of("ASEX").is_session(days("2024-05-03")).any()  # Orthodox Good Friday


# ------------------------------------------------------------------------------------------------------------ in the world


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_the_sample_has_a_bar_of_every_session_and_of_no_other_day(symbol: str) -> None:
    with sample_path() as source:
        dates = next(bars.date for bars in read_bars(source) if bars.symbol == symbol)
    nasdaq = calendar_of("XNAS")
    assert nasdaq.is_session(dates).all()
    assert [found.tolist() for found in nasdaq.missing_between(dates)] == [[], []]


def test_new_york_was_closed_after_the_attacks_of_2001_and_is_on_juneteenth_since_2022() -> None:
    new_york = calendar_of("XNYS")
    closed = days("2001-09-11", "2001-09-12", "2001-09-13", "2001-09-14", "2022-06-20", "2023-06-19")
    open_ = days("2001-09-10", "2001-09-17", "2021-06-18", "2022-06-17", "2022-06-21")
    assert not new_york.is_session(closed).any()
    assert new_york.is_session(open_).all()


def test_new_york_closes_at_one_on_the_day_after_thanksgiving() -> None:
    new_york = calendar_of("XNYS")
    assert new_york.opens_of(days("2024-11-29")) == moments("2024-11-29T14:30")
    assert (
        new_york.closes_of(days("2024-11-27", "2024-11-29")).tolist() == moments("2024-11-27T21:00", "2024-11-29T18:00").tolist()
    )
    assert new_york.is_open(moments("2024-11-29T17:59:59", "2024-11-29T18:00")).tolist() == [True, False]


def test_opens_move_in_utc_when_clocks_do() -> None:
    """The United States change on 2024-03-10, the United Kingdom on 2024-03-31; Tokyo never does."""
    found = calendar_of("XNYS").opens_of(days("2024-03-08", "2024-03-11"))
    assert found.tolist() == moments("2024-03-08T14:30", "2024-03-11T13:30").tolist()
    found = calendar_of("XLON").opens_of(days("2024-03-28", "2024-04-02"))
    assert found.tolist() == moments("2024-03-28T08:00", "2024-04-02T07:00").tolist()
    found = calendar_of("XTKS").opens_of(days("2024-03-08", "2024-04-01"))
    assert found.tolist() == moments("2024-03-08T00:00", "2024-04-01T00:00").tolist()


def test_nothing_is_open_in_the_lunch_break() -> None:
    """Tokyo from 11:30 to 12:30, Hong Kong from 12:00 to 13:00; no break on Hong Kong's half days."""
    tokyo = moments("2024-01-09T02:29:59", "2024-01-09T02:30", "2024-01-09T03:29:59", "2024-01-09T03:30")
    assert calendar_of("XTKS").is_open(tokyo).tolist() == [True, False, False, True]
    assert (calendar_of("XTKS").days_of(tokyo) == days("2024-01-09")).all()
    hong_kong = moments("2024-01-09T03:59:59", "2024-01-09T04:00", "2024-01-09T05:00", "2024-12-24T03:59:59", "2024-12-24T05:00")
    assert calendar_of("XHKG").is_open(hong_kong).tolist() == [True, False, True, True, False]


def test_a_moment_before_the_open_or_after_the_close_is_of_its_local_date() -> None:
    new_york = calendar_of("XNYS")
    before, after, night = "2024-01-09T12:00", "2024-01-10T00:30", "2024-01-10T05:00"
    assert new_york.days_of(moments(before, after, night)).tolist() == days("2024-01-09", "2024-01-09", "2024-01-10").tolist()
    assert not new_york.is_open(moments(before, after, night)).any()


def test_a_session_that_opens_on_the_evening_before_keeps_its_day() -> None:
    """Chicago's futures: from 17:00 to 17:00, Monday's from Sunday on; one closes as the next opens."""
    chicago = calendar_of("CMES")
    around = moments("2024-01-07T22:59:59", "2024-01-07T23:00", "2024-01-08T22:59:59", "2024-01-08T23:00")
    assert chicago.days_of(around).tolist() == days("2024-01-07", "2024-01-08", "2024-01-08", "2024-01-09").tolist()
    assert chicago.is_open(around).tolist() == [False, True, True, True]


def test_a_day_without_a_session_lasts_from_local_midnight_to_the_next() -> None:
    new_york = calendar_of("XNYS")
    change = days("2024-03-10")  # a Sunday of 23 hours
    assert new_york.opens_of(change) == moments("2024-03-10T05:00")
    assert new_york.closes_of(change) == moments("2024-03-11T04:00")


# ---------------------------------------------------------------------------------------------------- gaps and last sessions


def test_missing_sessions_are_counted_where_they_are_missing() -> None:
    """2024-01-01 and -15 were holidays; -06 was a Saturday, on which there is no session to miss."""
    have = days("2023-12-29", "2024-01-02", "2024-01-05", "2024-01-06", "2024-01-08", "2024-01-17")
    positions, counts = calendar_of("XNYS").missing_between(have)
    assert dict(zip(positions.tolist(), counts.tolist(), strict=True)) == {2: 2, 5: 5}
    positions, counts = ALWAYS_OPEN.missing_between(have)
    assert dict(zip(positions.tolist(), counts.tolist(), strict=True)) == {1: 3, 2: 2, 4: 1, 5: 8}


def test_before_the_first_session_and_after_the_last_nothing_is_open() -> None:
    new_york = calendar_of("XNYS")
    outside = moments("1969-12-31T15:00", "1970-01-01T03:00", "2028-01-03T15:00")
    assert not new_york.is_open(outside).any()
    assert new_york.days_of(outside).tolist() == days("1969-12-31", "1969-12-31", "2028-01-03").tolist()
    midnights = new_york.opens_of(days("1969-12-31", "2028-01-03"))
    assert midnights.tolist() == moments("1969-12-31T05:00", "2028-01-03T05:00").tolist()


def test_no_session_is_missing_where_the_calendar_has_no_opinion() -> None:
    tokyo = calendar_of("XTKS")
    assert tokyo.covers(days("1996-12-31", "1997-01-01", "2027-12-31", "2028-01-01")).tolist() == [False, True, True, False]
    positions, counts = tokyo.missing_between(days("1990-01-04", "1996-12-30", "1997-01-07", "2027-12-29", "2031-01-06"))
    assert positions.tolist() == [2, 3, 4]
    assert counts[0] == 1  # 1997-01-06, its first session
    assert counts[2] == 1  # 2027-12-30, its last


def test_fewer_than_two_days_have_nothing_between_them() -> None:
    for calendar in (calendar_of("XNYS"), ALWAYS_OPEN):
        for have in (days(), days("2024-01-02")):
            assert [found.tolist() for found in calendar.missing_between(have)] == [[], []]


def test_the_last_session_of_a_week_is_before_its_holidays() -> None:
    new_york = calendar_of("XNYS")
    assert new_york.last_session(date(2024, 3, 25), date(2024, 3, 31)) == date(2024, 3, 28)  # Good Friday
    assert new_york.last_session(date(2024, 3, 1), date(2024, 3, 31)) == date(2024, 3, 28)
    assert new_york.last_session(date(2024, 3, 29), date(2024, 3, 31)) is None
    assert new_york.last_session(date(2027, 12, 27), date(2027, 12, 31)) == date(2027, 12, 31)
    assert new_york.last_session(date(2027, 12, 27), date(2028, 1, 2)) is None
    assert new_york.last_session(date(1969, 12, 29), date(1969, 12, 31)) is None
    assert ALWAYS_OPEN.last_session(date(2024, 3, 25), date(2024, 3, 31)) == date(2024, 3, 31)
    assert ALWAYS_OPEN.last_session(date(2024, 3, 31), date(2024, 3, 25)) is None


def test_a_calendar_covers_the_last_days_of_its_last_year_though_they_are_holidays() -> None:
    """Tokyo's year ends on the 30th: its last week of 2027 is known to be complete then, as far as the library's own end."""
    assert calendar_of("XTKS").last_session(date(2027, 12, 27), date(2027, 12, 31)) == date(2027, 12, 30)


# --------------------------------------------------------------------------------------------------------- clocks that jump


def test_a_midnight_that_never_comes_is_the_first_moment_of_its_day() -> None:
    """São Paulo put its clocks forward at midnight, and back from midnight to 23:00."""
    sao_paulo = Calendar("every day", "America/Sao_Paulo")
    opens = sao_paulo.opens_of(days("2017-10-14", "2017-10-15", "2017-10-16", "2018-02-17", "2018-02-18"))
    hours = ((opens - opens.astype("datetime64[D]")) // np.timedelta64(1, "h")).astype(int)
    assert hours.tolist() == [3, 3, 2, 2, 3]
    assert sao_paulo.days_of(opens[1:2] - SECOND).tolist() == [date(2017, 10, 14)]


def test_of_a_time_that_comes_twice_the_first_is_meant_and_one_that_never_comes_goes_by_the_clock_before() -> None:
    local = moments("2024-10-27T01:30", "2024-03-31T01:30", "NaT")
    found = utc_of(local, "Europe/London")
    assert found[:2].tolist() == moments("2024-10-27T00:30", "2024-03-31T01:30").tolist()
    assert np.isnat(found[2])


# ------------------------------------------------------------------------------------------------------------- laws and names


NAMES = st.sampled_from(CALENDARS)


@examples(deadline=None, max_examples=70)
@given(name=NAMES, seed=st.integers(0, 2**32 - 1))
def test_a_session_contains_its_open_and_not_its_close(name: str, seed: int) -> None:
    calendar = sessions_of(name)
    some = np.sort(np.random.default_rng(seed).choice(len(calendar.days), 50))
    named = calendar.days[some]
    opens, closes = calendar.opens_of(named), calendar.closes_of(named)
    assert (opens < closes).all()
    assert (calendar.days_of(opens) == named).all()
    assert (calendar.days_of(closes - SECOND) == named).all()
    assert calendar.is_open(opens).all()
    assert calendar.is_open(closes - SECOND).all()
    another_opens = np.isin(closes, calendar.opens)
    assert (calendar.is_open(closes) == another_opens).all()
    has_break = ~np.isnat(calendar.break_starts[some])
    starts, ends = calendar.break_starts[some][has_break], calendar.break_ends[some][has_break]
    assert ((opens[has_break] < starts) & (starts < ends) & (ends < closes[has_break])).all()
    assert not calendar.is_open(starts).any()
    assert calendar.is_open(ends).all()


@examples(deadline=None, max_examples=70)
@given(name=NAMES | st.just(ALWAYS_OPEN.name), start=st.dates(date(1969, 1, 1), date(2028, 12, 1)), length=st.integers(2, 400))
def test_days_say_the_same_of_sessions_whichever_way_they_are_asked(name: str, start: date, length: int) -> None:
    calendar = calendar_of(name)
    every = np.arange(np.datetime64(start), np.datetime64(start) + length)
    sessions = calendar.is_session(every)
    assert not sessions[~calendar.covers(every)].any()
    assert (np.diff(calendar.sessions_before(every)) == sessions[:-1]).all()
    _, counts = calendar.missing_between(every[[0, -1]])
    assert counts.sum() == sessions[1:-1].sum()
    if calendar.covers(every[-1:]).all():
        found = calendar.last_session(start, every[-1].item())
        assert found == (every[sessions][-1].item() if sessions.any() else None)
    # days without a session touch each other, and are what their midnights are of, unless a session reaches into them
    opens, closes = calendar.opens_of(every), calendar.closes_of(every)
    assert (opens < closes).all()
    free = ~sessions[:-1] & ~sessions[1:]
    assert (closes[:-1][free] == opens[1:][free]).all()
    within = ~calendar.is_open(opens) & ~sessions
    assert (calendar.days_of(opens[within]) == every[within]).all()


@given(st.lists(st.datetimes(), max_size=20))
def test_what_never_closes_is_open_at_every_moment_of_every_day(times: list[object]) -> None:
    some = np.array(times, "datetime64[s]")
    assert ALWAYS_OPEN.is_open(some).all()
    on = ALWAYS_OPEN.days_of(some)
    assert (on == some.astype("datetime64[D]")).all()
    assert ALWAYS_OPEN.is_session(on).all()
    assert ALWAYS_OPEN.covers(on).all()
    assert ((ALWAYS_OPEN.opens_of(on) <= some) & (some < ALWAYS_OPEN.closes_of(on))).all()
    assert (ALWAYS_OPEN.closes_of(on) - ALWAYS_OPEN.opens_of(on) == DAY).all()


def test_an_exchange_goes_by_many_names_and_is_read_once() -> None:
    assert calendar_of("XNAS") is calendar_of("NYSE") is calendar_of("XNYS")
    assert calendar_of("24/7") is ALWAYS_OPEN
    assert calendar_of(None) is None
    assert {"XNYS", "XNAS", "24/7", "us_futures"} <= set(exchanges())


@pytest.mark.parametrize(("asked", "meant"), [("XNYZ", "XNYS"), ("nasdaq", "NASDAQ"), ("US_FUTURES", "us_futures")])
def test_an_exchange_nobody_knows_is_refused_with_names_like_it(asked: str, meant: str) -> None:
    with pytest.raises(UnknownExchange) as refused:
        calendar_of(asked)
    assert meant in refused.value.matches
    assert meant in refused.value.detail


def test_a_name_like_no_other_is_refused_without_a_guess() -> None:
    with pytest.raises(UnknownExchange) as refused:
        calendar_of("?" * 100_000)
    assert refused.value.matches == ()
    assert len(refused.value.detail) < 200


def test_nothing_is_read_before_it_is_asked_for_and_pandas_never() -> None:
    program = (
        "import sys\n"
        "from data_service.adapters import calendars\n"
        "assert calendars._calendars_by_name.cache_info().currsize == 0\n"
        "assert calendars.calendar_of('XNAS').name == 'XNYS'\n"
        "assert calendars._load.cache_info().currsize == 1\n"
        "assert not {'pandas', 'exchange_calendars'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
