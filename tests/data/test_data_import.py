"""Importing bars: every fault named and nothing changed, or every row put over what was stored."""

import datetime as dt
import io
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_service.adapters.calendars import calendar_of
from data_service.adapters.parquet import sample_path
from data_service.adapters.uploads import ColumnMap, Source, read_upload
from data_service.domain import importing
from data_service.domain.bars import NUMBERS, UNLISTED, Bar, Bars, Split
from data_service.domain.importing import DAILY, REQUIRED, Fault, Terms, UnfitUpload, Upload
from data_service.domain.merging import Report, store
from data_service.domain.placing import StoredBars
from data_service.domain.synthetic import universe
from tests.data.memory import MemoryWriter as Memory
from tests.data.sources import read_bars

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)
HEADER = "symbol,date,open,high,low,close,volume"
GOOD = "IBM,2013-03-04,10,12,9,11,100"


def upload_to(writer: Memory, terms: Terms = DAILY) -> Upload:
    return Upload(NOW, StoredBars(writer.snapshot(), calendar_of, terms.listing.exchange), terms)


def csv(*lines: str, header: str = HEADER) -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def bring(writer: Memory, *files: bytes, mapping: ColumnMap | None = None, dry_run: bool = False) -> Report:
    with ExitStack() as opened:
        sources = [Source(f"file{number}", opened.enter_context(file_of(data))) for number, data in enumerate(files, 1)]
        return store(read_upload(sources, mapping or {}, upload_to(writer)), writer, dry_run=dry_run)


@contextmanager
def file_of(data: bytes) -> Iterator[BinaryIO]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file


def faults(
    *files: bytes, mapping: ColumnMap | None = None, writer: Memory | None = None
) -> list[tuple[int | None, str | None, str]]:
    """Row, column and reason of each; what was stored is as it was."""
    writer = writer or Memory(sample())
    before = writer.versions()
    with pytest.raises(UnfitUpload) as refused:
        bring(writer, *files, mapping=mapping)
    assert writer.versions() == before
    assert refused.value.count == len(refused.value.faults) == len(refused.value.errors)
    return [(fault.row, fault.column, fault.reason) for fault in refused.value.faults]


def sample() -> list[Bars]:
    """As if nobody knew where it was listed."""
    with sample_path() as folder:
        return [replace(bars, listing=UNLISTED) for bars in read_bars(folder)]


def frame_of(bars: Sequence[Bars]) -> pl.DataFrame:
    return pl.concat(
        pl.DataFrame({"symbol": [one.symbol] * len(one), **{name: getattr(one, name) for name in ("date", *NUMBERS)}})
        for one in bars
    )


def test_an_imported_sample_is_the_sample_with_its_splits() -> None:
    whole = frame_of(sample()).sample(fraction=1, shuffle=True, seed=1)
    writer = Memory()
    report = bring(writer, whole.write_csv().encode())
    assert writer.versions() == Memory(sample()).versions()
    assert {str(split.date) for split in writer.bars["AAPL"].splits} == {"2000-06-21", "2005-02-28"}, "the crash is none"
    assert (report.symbols, report.rows, len(report.changed)) == (5, whole.height, 5)
    assert bring(writer, parquet(whole)).changed == ()
    assert writer.commits == 1


def test_rows_take_the_place_of_those_of_their_date_and_all_others_stay() -> None:
    writer = Memory(sample())
    old = writer.bars["IBM"]
    day = str(old.date[5])
    report = bring(writer, csv(f"ibm,{day},10,12,9,11,100", "IBM,2013-03-04,10,12,9,11,100", "NEW,2013-03-04,10,12,9,11,0"))
    assert {(change.after.symbol, change.added, change.corrected) for change in report.changed} == {("IBM", 1, 1), ("NEW", 1, 0)}
    new = writer.bars["IBM"]
    assert new.data_version == old.with_bar(_bar(day)).with_bar(_bar("2013-03-04")).data_version
    assert writer.bars["NEW"].adj_close.tolist() == [11.0]


def _bar(day: str) -> Bar:
    return Bar(np.datetime64(day, "D"), 10.0, 12.0, 9.0, 11.0, 100.0)


@given(st.integers(-2000, 9000))
def test_a_row_without_adj_close_takes_the_ratio_a_live_bar_would(day: int) -> None:
    old = next(bars for bars in sample() if bars.symbol == "AAPL")
    when = str(np.datetime64("2000-01-01", "D") + np.timedelta64(day, "D"))
    writer = Memory([old])
    bring(writer, csv(f"AAPL,{when},10,12,9,11,100"))
    assert writer.bars["AAPL"].data_version == old.with_bar(_bar(when)).data_version


DAYS = st.integers(0, 60).map(lambda day: dt.date(2012, 1, 2) + dt.timedelta(day))
PRICES = st.tuples(*[st.floats(0.01, 1e6)] * 5, st.floats(0, 1e12))
TABLE = st.dictionaries(st.tuples(st.sampled_from(["A", "IBM", "Z.9"]), DAYS), PRICES, min_size=1, max_size=30)


def _row(key: tuple[str, dt.date], prices: tuple[float, ...], *, adjusted: bool) -> dict[str, Any]:
    low, opened, close, high = sorted(prices[:4])
    row = {"symbol": key[0], "date": key[1], "open": opened, "high": high, "low": low, "close": close, "volume": prices[5]}
    return {**row, "adj_close": prices[4]} if adjusted else row


def _file(rows: list[dict[str, Any]], *, as_csv: bool) -> bytes:
    if not as_csv:
        return parquet(pl.DataFrame(rows))
    return csv(*(",".join(map(str, row.values())) for row in rows), header=",".join(rows[0]))


@settings(max_examples=60)
@given(TABLE, st.booleans(), st.randoms(use_true_random=False), st.lists(st.booleans(), min_size=1, max_size=4))
def test_neither_the_order_of_rows_nor_their_files_change_the_bars(
    table: dict[tuple[str, dt.date], tuple[float, ...]], adjusted: bool, chance: random.Random, kinds: list[bool]
) -> None:
    rows = [_row(key, prices, adjusted=adjusted) for key, prices in table.items()]
    whole, parts = Memory(sample()), Memory(sample())
    bring(whole, _file(sorted(rows, key=lambda row: (row["symbol"], row["date"])), as_csv=True))
    chance.shuffle(rows)
    files = [_file(part, as_csv=as_csv) for at, as_csv in enumerate(kinds) if (part := rows[at :: len(kinds)])]
    bring(parts, *files)
    assert parts.versions() == whole.versions()
    for (symbol, day), prices in table.items():
        bars = parts.bars[symbol]
        at = bars.date.tolist().index(day)
        row = _row((symbol, day), prices, adjusted=adjusted)
        assert all(getattr(bars, name)[at] == row[name] for name in row if name not in {"symbol", "date"})


def _seed(number: int, row: dict[str, str], before: dict[str, str]) -> tuple[dict[str, str], str, str]:
    """A row with one fault; where, and what will be said."""
    column = ("open", "high", "low", "close", "volume", "adj_close")[number % 6]
    price = column if column != "volume" else "open"
    kinds: list[tuple[dict[str, str], str, str]] = [
        ({column: "twelve"}, column, "not a number"),
        ({column: ""}, column, "empty"),
        ({column: "nan"}, column, "not finite"),
        ({column: "1e400"}, column, "not finite"),
        ({column: "1e30"}, column, "too large"),
        ({price: "-1"}, price, "not positive"),
        ({price: "0"}, price, "not positive"),
        ({"volume": "-5"}, "volume", "negative"),
        ({"date": "2013-02-30"}, "date", "not a date (YYYY-MM-DD)"),
        ({"date": f"{3000 + number}-11-27"}, "date", "in the future"),
        ({"date": f"{100 + number:04d}-11-27"}, "date", "before 1600"),
        ({"symbol": "no symbol"}, "symbol", "not a symbol (letters, digits and . _ -, at most 32)"),
        ({"symbol": ""}, "symbol", "empty"),
        ({"high": "9.5"}, "high", "below open or close"),
        ({"low": "10.5"}, "low", "above open or close"),
        ({"date": before["date"], "symbol": before["symbol"]}, "date", "the same symbol and date as row"),
    ]
    change, at, reason = kinds[number % len(kinds)]
    return {**row, **change}, at, reason


def test_a_thousand_seeded_faults_are_each_named_and_nothing_changes() -> None:
    days = np.arange("1990-01-01", "2020-01-01", dtype="M8[D]")[:9000]
    names = ("symbol", "date", "open", "high", "low", "close", "volume", "adj_close")
    rows = [dict(zip(names, ("IBM", str(day), "10", "12", "9", "11", "100", "11"), strict=True)) for day in days]
    expected = set()
    for number, at in enumerate(np.random.default_rng(7).choice(np.arange(2, 9000, 2), 1000, replace=False).tolist()):
        rows[at], column, reason = _seed(number, rows[at], rows[at - 1])
        expected.add((at + 2, column, f"{reason} {at + 1}" if reason.endswith("row") else reason))
    assert set(faults(csv(*(",".join(row.values()) for row in rows), header=",".join(names)))) == expected
    assert len(expected) == 1000


def test_of_very_many_faults_all_are_counted_and_the_first_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MOST_LISTED", 10)
    bad = [f"IBM,2013-03-{day:02d},x,12,9,11,y" for day in range(1, 29)]
    with pytest.raises(UnfitUpload) as refused:
        bring(Memory(), csv(*bad, *(GOOD for _ in range(30))))
    assert (refused.value.count, len(refused.value.faults)) == (28 + 28 + 30, 10)
    assert "the first 10 are listed" in refused.value.detail


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["IBM,2013-03-04,10,12,9,11"], [(2, "volume", "empty")]),
        ([GOOD + ",5"], [(2, None, "more fields than the header")]),
        ([GOOD, "", "x"], [(4, name, "empty") for name in REQUIRED[1:]]),
        (["ß,2013-03-04,10,12,9,11,1"], [(2, "symbol", "not a symbol (letters, digits and . _ -, at most 32)")]),
        (["IBM,2013-03-04,-1,12,13,-1,1"], [(2, "close", "not positive"), (2, "high", "below low"), (2, "open", "not positive")]),
        (["IBM,2013-03-04 09:30:00,10,12,9,11,1"], [(2, "date", "not a date (YYYY-MM-DD)")]),
        ([GOOD, 'IBM,2013-03-05,10,12,9,11,"1,000"'], [(3, None, "more fields than the header")]),
        ([GOOD, GOOD], [(3, "date", "the same symbol and date as row 2")]),
        ([GOOD, GOOD.lower()], [(3, "date", "the same symbol and date as row 2")]),
    ],
)
def test_a_bad_line_is_named_with_its_column(lines: list[str], expected: list[tuple[int, str, str]]) -> None:
    assert sorted(faults(csv(*lines)), key=str) == sorted(expected, key=str)


def test_today_is_no_future_wherever_it_is_today() -> None:
    bring(Memory(), csv("IBM,2026-11-25,10,12,9,11,100"))
    assert faults(csv("IBM,2026-11-26,10,12,9,11,100")) == [(2, "date", "in the future")]


def test_a_row_that_is_in_two_files_is_named_with_both() -> None:
    with pytest.raises(UnfitUpload) as refused:
        bring(Memory(), csv(GOOD), csv("IBM,2013-03-05,10,12,9,11,1", GOOD))
    assert refused.value.faults == [Fault("file2", 3, "date", "the same symbol and date as row 2 of file1")]


def test_files_of_one_name_are_told_apart() -> None:
    with pytest.raises(UnfitUpload) as refused:
        read_upload([Source("a.csv", io.BytesIO(csv("x"))), Source("a.csv", io.BytesIO(csv("x")))], {}, upload_to(Memory()))
    assert {fault.file for fault in refused.value.faults} == {"a.csv", "a.csv (2)"}


def test_splits_are_found_where_the_told_adjustment_jumps_by_a_whole_ratio() -> None:
    lines = [
        "A,2013-03-04,100,100,100,100,1,25",  # a split of 4 with a dividend of one per cent
        "A,2013-03-05,25,25,25,25,1,25.25",
        "A,2013-03-06,12,12,12,12,1,12.12",  # a crash
        "A,2013-03-07,12,12,12,12,1,18",  # 3 for 2 is no whole ratio
    ]
    writer = Memory()
    bring(writer, csv(*lines, header=f"{HEADER},adj_close"))
    assert writer.bars["A"].splits == (Split(np.datetime64("2013-03-05", "D"), 4.0),)


def test_an_imported_universe_has_the_splits_it_was_made_with() -> None:
    made = list(universe(20, 25, seed=9))
    assert sum(len(bars.splits) for bars in made) > 10
    writer = Memory()
    bring(writer, frame_of(made).write_csv().encode())
    assert writer.versions() == Memory(made).versions()


def test_known_splits_stay_unless_the_told_adjustment_denies_them() -> None:
    days = np.array(["2013-03-04", "2013-03-05", "2013-03-06", "2013-03-07"], dtype="M8[D]")
    close = np.array([30.0, 20.0, 20.0, 20.0])
    adj = np.array([20.0, 20.0, 20.0, 20.0])
    known = (Split(days[1], 1.5), Split(days[3], 2.0))
    stored = Bars("A", days, close, close, close, close, close, adj, known)
    writer = Memory([stored])
    bring(writer, csv("A,2013-03-07,20,20,20,20,1"))
    assert list(writer.bars["A"].splits) == list(known), "no adjustment was told"
    whole = frame_of([stored]).with_columns(pl.col("date").cast(pl.String)).write_csv().encode()
    bring(writer, whole)
    assert list(writer.bars["A"].splits) == [known[0]], "3 for 2 is borne out, the other is denied"


def test_an_adjustment_that_cannot_be_carried_on_is_a_fault() -> None:
    day = np.array(["2013-03-04"], dtype="M8[D]")
    one = np.array([1.0])
    stored = Bars("A", day, one, one, one, one, one, one * 1e13)
    expected = [(2, "close", "no adj_close in proportion to it follows from the stored bars, or from the dividend")]
    assert faults(csv("A,2013-03-05,1,1,1,1,1"), writer=Memory([stored])) == expected
    told = csv("A,2013-03-05,1,1,1,1,1,1e15", header=f"{HEADER},adj_close")
    assert faults(told) == [(2, "adj_close", "out of proportion to close")]


def test_a_dry_run_says_what_would_change_and_changes_nothing() -> None:
    writer = Memory(sample())
    before = writer.versions()
    report = bring(writer, csv(GOOD), dry_run=True)
    assert [(change.after.symbol, change.added) for change in report.changed] == [("IBM", 1)]
    assert report.dry_run
    assert writer.versions() == before
    assert bring(writer, csv(GOOD)).changed[0].after.data_version == report.changed[0].after.data_version


def test_no_rows_are_no_change() -> None:
    writer = Memory(sample())
    assert bring(writer, csv()).changed == ()
    assert bring(writer, parquet(frame_of(sample()).clear())).rows == 0
    assert writer.commits == 0
