"""Pages of a dated series, and how far back a tier sees."""

import datetime as dt
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.conditional import etag_matches
from shared.errors import InvalidInput, TierRequired
from shared.limits.history import history_window
from shared.limits.plans import Entitlements, parse_plans
from shared.paging import DataChanged, Order, Range, page_of

DATES = np.datetime64("2020-01-01", "D") + np.arange(100) * np.timedelta64(1, "D")
DAYS = st.dates(dt.date(2019, 12, 1), dt.date(2020, 5, 1))


def asked(cursor: str | None = None, *, request: str = "r", version: str = "v", order: Order = "asc") -> Range:
    return Range(start=None, end=None, order=order, limit=3, cursor=cursor, request=request, data_version=version)


@given(start=DAYS | st.none(), end=DAYS | st.none(), limit=st.integers(1, 40), order=st.sampled_from(["asc", "desc"]))
def test_pages_put_together_are_the_whole(start: dt.date | None, end: dt.date | None, limit: int, order: Order) -> None:
    whole = [day for day in DATES.tolist() if (start is None or day >= start) and (end is None or day <= end)]
    whole = whole if order == "asc" else whole[::-1]
    got: list[dt.date] = []
    cursor = None
    while True:
        page = page_of(DATES, Range(start, end, order, limit, cursor, "r", "v"))
        rows = DATES[page.rows].tolist()
        assert len(rows) <= limit
        got += rows
        cursor = page.next_cursor
        if cursor is None:
            break
    assert got == whole


def cursor_of(*, request: str = "r", version: str = "v", order: Order = "asc") -> str:
    made = page_of(DATES, asked(request=request, version=version, order=order)).next_cursor
    assert made is not None
    return made


def test_a_cursor_of_other_data_is_a_conflict() -> None:
    with pytest.raises(DataChanged):
        page_of(DATES, asked(cursor_of(version="old")))


@pytest.mark.parametrize("cursor", [cursor_of(request="another"), cursor_of(order="desc"), "x", "e30", "WzEsIDJd", "____", "ÿ"])
def test_what_is_no_cursor_of_this_request_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        page_of(DATES, asked(cursor))


OLDEST, NEWEST = dt.date(2000, 3, 1), dt.date(2013, 3, 1)
BOOK = parse_plans("""
anonymous_ip: {quota: 50}
tiers:
  low: {limits: {}, entitlements: {indicators: all, history_days: 90, batch_series: 5}}
  middle: {limits: {}, entitlements: {indicators: all, history_days: 365, batch_series: 5}}
  high: {limits: {}, entitlements: {indicators: all, batch_series: 5}}
""")
PLANS = SimpleNamespace(book=BOOK)
ANY_DAY = st.dates(dt.date(1999, 1, 1), dt.date(2014, 1, 1))


@given(days=st.integers(1, 6000), start=ANY_DAY | st.none(), end=ANY_DAY | st.none())
def test_a_tier_sees_so_many_days_and_is_told_when_it_asked_for_more(
    days: int, start: dt.date | None, end: dt.date | None
) -> None:
    earliest = NEWEST - dt.timedelta(days=days)
    entitlements = Entitlements(indicators="all", history_days=days, batch_series=1)

    if end is not None and end < earliest:
        with pytest.raises(TierRequired) as refused:
            history_window(entitlements, PLANS, oldest=OLDEST, newest=NEWEST, start=start, end=end)
        assert refused.value.required_tier == BOOK.first_tier_reaching((NEWEST - end).days)
        return
    seen = history_window(entitlements, PLANS, oldest=OLDEST, newest=NEWEST, start=start, end=end)
    asked_from = max(OLDEST, start or OLDEST)
    assert seen.earliest == earliest
    assert max(OLDEST, seen.start or OLDEST) == max(asked_from, earliest)
    assert seen.clamped == (asked_from < earliest)


def test_a_tier_without_a_bound_sees_everything() -> None:
    everything = Entitlements(indicators="all", batch_series=1)
    seen = history_window(everything, PLANS, oldest=OLDEST, newest=NEWEST, start=None, end=OLDEST)
    assert (seen.start, seen.earliest, seen.clamped) == (None, None, False)


@pytest.mark.parametrize(
    ("sent", "matches"),
    [(None, False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("", False)],
)
def test_if_none_match_is_a_list_of_tags(sent: str | None, *, matches: bool) -> None:
    assert etag_matches(sent, '"a"') is matches
