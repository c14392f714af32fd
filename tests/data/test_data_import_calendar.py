"""Imports against the clock and the calendar of an exchange, and of bars of less than a day."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl
import pytest

from data_service.adapters.calendars import calendar_of
from data_service.adapters.uploads import Source, read_upload
from data_service.domain.bars import NUMBERS, UNLISTED, Bars, Listing
from data_service.domain.importing import OF_DAYS, Fault, Terms, UnfitUpload
from data_service.domain.merging import Report, store
from tests.data.memory import MemoryWriter
from tests.data.test_data_import import HEADER, csv, file_of, parquet, upload_to
from tests.data.test_data_intraday import NEW_YORK, head, moments

OUTSIDE = "outside the sessions of XNYS"
NO_TIME = f"no time there is in {NEW_YORK}, or two of them: give its offset from UTC"


def terms(interval: str = "1min", exchange: str | None = "XNYS", *, check: bool = True) -> Terms:
    return Terms(interval, Listing(exchange, "USD") if exchange else UNLISTED, check)  # type: ignore[arg-type]  # a literal


def bring(writer: MemoryWriter, data: bytes, asked: Terms, *, dry_run: bool = False) -> Report:
    with file_of(data) as file:
        return store(read_upload([Source("f", file)], {}, upload_to(writer, asked)), writer, dry_run=dry_run)


def rows(*dates: str, symbol: str = "A") -> bytes:
    return csv(*(f"{symbol},{date},10,12,9,11,100" for date in dates))


def refused(data: bytes, asked: Terms, writer: MemoryWriter | None = None) -> list[tuple[int | None, str]]:
    writer = writer or MemoryWriter()
    before = writer.versions()
    with pytest.raises(UnfitUpload) as error:
        bring(writer, data, asked)
    assert writer.versions() == before
    assert {fault.column for fault in error.value.faults} == {"date"}
    return [(fault.row, fault.reason) for fault in error.value.faults]


@pytest.mark.parametrize(
    "texts",
    [
        ("2024-03-07 09:30", "2024-03-11T09:30"),
        ("2024-03-07 09:30:00", "2024-03-11 09:30:00.000"),
        ("2024-03-07T09:30:00-05:00", "2024-03-11T09:30-0400"),
        ("2024-03-07T14:30Z", "2024-03-11 13:30:00 +00:00"),
    ],
)
def test_a_moment_without_an_offset_is_of_the_exchanges_clock(texts: tuple[str, str]) -> None:
    writer = MemoryWriter()
    bring(writer, rows(*texts), terms(check=False))
    np.testing.assert_array_equal(writer.bars["A:1min:2024-03"].date, moments("2024-03-07 09:30", "2024-03-11 09:30"))
    assert writer.bars["A"].listing == Listing("XNYS", "USD")


@pytest.mark.parametrize("zone", [None, "UTC", NEW_YORK, "Asia/Tokyo"])
def test_moments_in_parquet_are_of_their_zone_or_of_the_exchanges(zone: str | None) -> None:
    column = pl.Series(["2024-03-07 09:30"]).str.to_datetime(time_unit="ms")
    if zone is not None:
        column = column.dt.replace_time_zone(NEW_YORK).dt.convert_time_zone(zone)
    frame = pl.DataFrame({"symbol": ["A"], "date": column, **{name: [10] for name in NUMBERS[:5]}})
    writer = MemoryWriter()
    bring(writer, parquet(frame), terms())
    np.testing.assert_array_equal(writer.bars["A:1min:2024-03"].date, moments("2024-03-07 09:30"))


def test_the_exchange_may_be_known_from_before() -> None:
    writer = MemoryWriter([head("A", "XTKS")])
    bring(writer, rows("2024-03-07 09:00"), terms(exchange=None))
    assert writer.bars["A:1min:2024-03"].date.astype(str).tolist() == ["2024-03-07T00:00:00"]
    bring(writer, rows("2024-03-07 09:00", symbol="B"), terms(exchange=None))
    assert writer.bars["B:1min:2024-03"].date.astype(str).tolist() == ["2024-03-07T09:00:00"], "nobody knows: UTC"


@pytest.mark.parametrize(
    ("dates", "asked", "expected"),
    [
        (["2024-03-07 09:30", "2024-03-07 09:31:30"], terms(check=False), [(3, "not on a whole minute")]),
        (["2024-03-07 09:30", "2024-03-07 09:33"], terms("5min"), [(3, "not where a bar of 5min begins")]),
        (["2024-03-07 09:30", "2024-03-07 10:00"], terms("1h"), [(3, "not where a bar of 1h begins")]),
        (["2024-03-07 09:30", "2024-03-07 13:30"], terms("4h"), []),
        (
            ["2024-03-07 09:29", "2024-03-07 15:59", "2024-03-07 16:00"],
            terms(),
            [(2, OUTSIDE), (4, OUTSIDE)],
        ),
        (["2024-03-09 10:00"], terms(), [(2, OUTSIDE)]),
        (["2023-11-24 13:00"], terms(), [(2, OUTSIDE)]),
        (["2024-03-07 11:45"], terms(exchange="XTKS"), [(2, "outside the sessions of XTKS")]),
        (["2024-03-10 02:30"], terms(exchange=None), []),
        (["2024-03-08 14:31", "2024-03-11 14:31"], terms("1h", exchange=None), []),  # nobody knows its sessions
        (["1980-03-10 10:30"], terms("1h", exchange="XTKS"), []),  # nor what Tokyo's were then
        (
            ["2024-03-10 02:30"],
            terms(check=False),
            [(2, NO_TIME)],
        ),
        (
            ["2023-11-05 01:30"],
            terms(check=False),
            [(2, NO_TIME)],
        ),
        (["2024-03-07"], terms(), [(2, "not a date and time (YYYY-MM-DDThh:mm, with seconds and an offset or without)")]),
        (["2024-03-07 09:30", "2024-03-07T14:30Z"], terms(), [(3, "the same symbol and date as row 2")]),
        (["2026-11-26 09:30"], terms(check=False), [(2, "in the future")]),
        (["2024-03-05 09:30", "2024-03-07 09:30", "2024-03-07 09:31"], terms(), [(3, "1 session of XNYS missing before it")]),
        (["2024-03-08", "2024-03-11", "2024-03-14"], terms("1day"), [(4, "2 sessions of XNYS missing before it")]),
        (["2024-03-28", "2024-04-01"], terms("1day"), []),  # Good Friday and a weekend
        (["2024-03-28", "2024-03-29", "2024-04-01"], terms("1day"), [(3, "no session of XNYS")]),
        (["1969-12-30", "2024-04-01"], terms("1day", exchange=None), []),
    ],
)
def test_what_has_no_place_on_the_calendar_is_named(dates: list[str], asked: Terms, expected: list[tuple[int, str]]) -> None:
    if expected:
        assert refused(rows(*dates), asked) == expected
    else:
        assert bring(MemoryWriter(), rows(*dates), asked).rows == len(dates)


def test_a_gap_to_what_is_stored_is_named_on_the_side_that_is_brought() -> None:
    writer = MemoryWriter()
    bring(writer, rows("2024-03-11", "2024-03-12"), terms("1day"))
    asked = Terms("1day")
    assert refused(rows("2024-03-14"), asked, writer) == [(2, "1 session of XNYS missing before it")]
    assert refused(rows("2024-03-06", "2024-03-07"), asked, writer) == [(3, "1 session of XNYS missing after it")]
    bring(writer, rows("2024-03-08", "2024-03-13"), asked)
    assert len(writer.bars["A"]) == 4


def test_a_row_without_a_usable_date_is_no_gap_besides() -> None:
    assert refused(rows("2024-03-11", "someday", "2024-03-13"), terms("1day")) == [(3, "not a date (YYYY-MM-DD)")]


def test_the_calendar_may_be_left_alone() -> None:
    writer = MemoryWriter()
    bring(writer, rows("2024-03-07 07:00", "2024-03-12 20:00"), terms(check=False))
    assert len(writer.bars["A:1min:2024-03"]) == 2
    bring(writer, rows("2024-03-09", "2024-03-20", symbol="B"), terms("1day", check=False))
    assert len(writer.bars["B"]) == 2


def test_adj_close_is_of_daily_bars_alone() -> None:
    data = csv("A,2024-03-07 09:30,10,12,9,11,100,11", header=f"{HEADER},adj_close")
    with pytest.raises(UnfitUpload) as error:
        bring(MemoryWriter(), data, terms())
    assert error.value.faults == [Fault("f", None, "adj_close", OF_DAYS)]


def test_rows_of_several_months_and_symbols_are_one_change_of_each_symbol() -> None:
    writer = MemoryWriter([head("A")])
    both = rows("2024-02-29 15:59", "2024-03-01 09:30") + rows("2024-03-01 09:30", symbol="B").partition(b"\n")[2]
    report = bring(writer, both, terms())
    told = {change.after.symbol: (change.added, change.corrected, change.after.rows) for change in report.changed}
    assert told == {"A": (2, 0, 2), "B": (1, 0, 1)}
    assert [change.after.data_version for change in report.changed] == [
        writer.snapshot().of(symbol).data_version for symbol in ("A", "B")
    ]
    assert bring(writer, both, terms()).changed == ()
    corrected = bring(writer, both.replace(b",11,", b",10.5,"), terms(), dry_run=True)
    assert [(change.added, change.corrected) for change in corrected.changed] == [(0, 2), (0, 1)]


def test_naming_the_exchange_is_a_change() -> None:
    writer = MemoryWriter()
    bring(writer, rows("2024-03-11"), terms("1day", exchange=None))
    before = writer.versions()["A"]
    report = bring(writer, rows("2024-03-11"), terms("1day"))
    assert [(change.added, change.corrected, change.after.listing.exchange) for change in report.changed] == [(0, 0, "XNYS")]
    assert writer.versions()["A"] != before


def versions(writer: MemoryWriter) -> Sequence[str]:
    return sorted(writer.versions().values())


def test_parts_of_a_file_in_any_order_are_the_whole() -> None:
    dates = [f"2024-03-07 09:{minute}" for minute in range(30, 50)]
    whole, parts = MemoryWriter(), MemoryWriter()
    bring(whole, rows(*dates), terms())
    for part in (dates[10:], dates[:5], dates[5:10]):
        bring(parts, rows(*part), terms())
    assert versions(whole) == versions(parts)
    assert isinstance(whole.bars["A:1min:2024-03"], Bars)


def test_very_many_gaps_are_each_named() -> None:
    """Weeks that were brought as days."""
    days = np.datetime64("2000-01-07", "D") + np.arange(1000) * np.timedelta64(7, "D")
    days = days[calendar_of("XNYS").is_session(days)]
    found = refused(rows(*map(str, days)), terms("1day"))
    assert len(found) == len(days) - 1
    assert {reason for _, reason in found} >= {"4 sessions of XNYS missing before it", "3 sessions of XNYS missing before it"}


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
@pytest.mark.parametrize("interval", ["1min", "1day"])
@pytest.mark.parametrize("number", [2**62, 2**63 - 1, -(2**62), -(2**63) + 1])
def test_a_date_that_no_calendar_has_is_a_fault(unit: Literal["ms", "us", "ns"], interval: str, number: int) -> None:
    date = pl.Series([number]).cast(pl.Datetime(unit))
    frame = pl.DataFrame({"symbol": ["A"], "date": date, **{name: [10] for name in NUMBERS[:5]}})
    assert {row for row, _ in refused(parquet(frame), terms(interval))} == {1}
