"""Files as people bring them: which are read, and how those that cannot be are named."""

import contextlib
import datetime as dt
import io
import re
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_service.adapters import parquet_apart, uploads
from data_service.adapters.parquet_apart import opened_apart
from data_service.adapters.parquet_footer import unpacked_bytes
from data_service.adapters.uploads import rows_within
from data_service.domain.bars import NUMBERS
from data_service.domain.importing import UnfitUpload
from tests.data.memory import MemoryWriter as Memory
from tests.data.test_data_import import GOOD, HEADER, bring, csv, faults, file_of, frame_of, parquet, sample

SO_MANY_BOOLEANS = b"PAR1" + b"\x49\xf1" + b"\xff" * 8 + b"\x7f\0" + b"\x0c\0\0\0" + b"PAR1"
"""Its footer says that its row groups are 2**63 booleans, none of which is there."""


def test_lines_are_counted_across_the_pieces_a_file_is_read_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PIECE", 64)
    lines = [f"IBM,2013-03-{day:02d},10,12,9,11,1" for day in range(1, 29)]
    lines[20:20] = ["", ""]
    lines[25] = lines[25].replace("12", "x")
    assert faults(csv(*lines)) == [(27, "high", "not a number")]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{GOOD}",
        f"\ufeff{HEADER}\r\n{GOOD}\r\n\r\n",
        "Ticker;Date;Open;High;Low;Close;Vol\nibm;2013-03-04;10;12;9;11;100\n",
        '"Symbol"\t"DATE"\t"Open "\t"High"\t"Low"\t"Close"\t"Volume"\n"IBM"\t"2013-03-04"\t10\t"12"\t 9\t1.1e1\t100\n',
        "volume,CLOSE,low,HIGH,open,Date,SYMBOL,\n100,11,9,12,10,2013-03-04 00:00:00-05:00,IBM,\n",
    ],
)
def test_a_csv_file_is_read_as_spreadsheets_and_vendors_write_it(text: str) -> None:
    plain, other = Memory(), Memory()
    bring(plain, csv(GOOD))
    bring(other, text.encode())
    assert other.versions() == plain.versions()


def test_columns_are_what_the_mapping_says_and_unknown_ones_are_refused() -> None:
    data = csv("IBM,2013-03-04,10,12,9,11,100,NYSE,5", header="name,date,open,high,low,px_close,volume,exchange,adj close")
    assert faults(data) == [
        (None, "name", "column unknown"),
        (None, "px_close", "column unknown"),
        (None, "exchange", "column unknown"),
        (None, "symbol", "column missing"),
        (None, "close", "column missing"),
    ]
    writer = Memory()
    bring(writer, data, mapping={"name": "symbol", "PX_Close": "close", "exchange": None})
    assert (writer.bars["IBM"].close[0], writer.bars["IBM"].adj_close[0]) == (11.0, 5.0)
    twice = csv(f"{GOOD},3", header=f"{HEADER},Close")
    assert faults(twice) == [(None, "Close", "column twice")]


@pytest.mark.parametrize(
    ("data", "row", "reason"),
    [
        (b"", None, "nothing in it"),
        (b"\n\n", None, "no header"),
        ("Ωμέγα,".encode("utf-16"), None, "not UTF-8 but UTF-16"),
        (b"symbol,caf\xe9\n", 1, "not UTF-8"),
        (b"\x1f\x8b\0\0\0", 1, "not UTF-8"),
        (b"GIF\0\0\0", None, "neither CSV nor Parquet"),
        (b"PAR1", None, "not readable as Parquet"),
        (b"PAR1" + b"x" * 100 + b"PAR1", None, "not readable as Parquet"),
        (SO_MANY_BOOLEANS, None, "not readable as Parquet"),
        (csv(GOOD) + b"x" * 70_000 + b"\n", 3, "a line longer than 65,536 bytes"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(data: bytes, row: int | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "_PIECE", 64)
    assert faults(data) == [(row, None, reason)]


def test_text_that_is_not_utf_8_is_named_where_it_stands() -> None:
    data = csv(GOOD) + b"caf\xe9,2013-03-05,10,12,9,11,1\nIBM,2013-03-06,10,12,9,\xff,1\n"
    assert faults(data) == [(3, "symbol", "not UTF-8"), (4, "close", "not UTF-8")]


def _typed(**columns: pl.Series) -> pl.DataFrame:
    whole = {
        "symbol": pl.Series(["IBM", "IBM"], dtype=pl.Categorical),
        "date": pl.Series([dt.date(2013, 3, 4), dt.date(2013, 3, 5)]),
        "open": pl.Series([10, 10], dtype=pl.Int8),
        "high": pl.Series([Decimal("12.50"), Decimal("12.50")]),
        "low": pl.Series([9, 9], dtype=pl.Float32),
        "close": pl.Series(["11", "11"]),
        "volume": pl.Series([2**40, 0], dtype=pl.UInt64),
    }
    return pl.DataFrame(whole | columns)


NEW_YORK = pl.Series(["2013-03-04", "2013-03-05"]).str.to_datetime("%Y-%m-%d").dt.replace_time_zone("America/New_York")


@pytest.mark.parametrize("date", [_typed()["date"], _typed()["date"].cast(pl.Datetime("ns")), NEW_YORK])
def test_parquet_columns_of_other_types_become_float64_and_dates(date: pl.Series) -> None:
    writer = Memory()
    bring(writer, parquet(_typed(date=date)))
    bars = writer.bars["IBM"]
    assert (bars.high[0], bars.low[0], bars.close[0], bars.volume[0]) == (12.5, 9.0, 11.0, float(2**40))
    assert bars.date.tolist() == [dt.date(2013, 3, 4), dt.date(2013, 3, 5)]
    assert all(getattr(bars, name).dtype == np.float64 for name in NUMBERS)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ("open", pl.Series([True, False]), (None, "open", "a column of Boolean: not a number")),
        ("open", pl.Series([[1.0], [2.0]]), (None, "open", "a column of List(Float64): not a number")),
        ("date", pl.Series([20130304, 20130305]), (None, "date", "a column of Int64: not a date (YYYY-MM-DD)")),
        (
            "symbol",
            pl.Series([b"IBM", b"IBM"]),
            (None, "symbol", "a column of Binary: not a symbol (letters, digits and . _ -, at most 32)"),
        ),
        ("volume", pl.Series([1.0, None]), (2, "volume", "empty")),
        ("close", pl.Series([float("nan"), 11.0]), (1, "close", "not finite")),
        (
            "date",
            pl.Series(["2013-03-04 00:00", "2013-03-05 09:30"]).str.to_datetime("%Y-%m-%d %H:%M"),
            (2, "date", "not midnight, as daily bars are"),
        ),
    ],
)
def test_parquet_columns_that_cannot_be_bars_are_refused(
    column: str, values: pl.Series, expected: tuple[int | None, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "_PIECE_ROWS", 1)
    assert faults(parquet(_typed(**{column: values}))) == [expected]


def test_a_parquet_file_is_not_unpacked_beyond_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    data = parquet(_typed(note=pl.Series(["x" * 1_000_000] * 2)))
    assert len(data) < 10_000
    assert unpacked_bytes(io.BytesIO(data)) > 1_000_000
    monkeypatch.setattr(uploads, "_MOST_UNPACKED", 100_000)
    assert faults(data) == [(None, None, "more than 100,000 bytes once it is unpacked")]
    monkeypatch.setattr(uploads, "MOST_ROWS", 1)
    assert faults(parquet(_typed())) == [(None, None, "more than 1 rows")]
    assert faults(csv(GOOD, GOOD)) == [(None, None, "more than 1 rows")]


def test_a_small_file_whose_header_says_that_it_is_a_large_one_is_refused_before_it_takes_memory() -> None:
    """Each of its blank lines would take as much as a row of all those columns."""
    header = HEADER + ",x" * 600
    assert faults(csv(*[""] * 30_000, header=header))[-1] == (2, None, "too many lines with fewer fields than the header")
    assert faults(csv(GOOD, *[""] * 1000, header=header))[-1][1:] == ("x", "column unknown")


ENDS_POLARS = Path(__file__).parent / "ends_polars.parquet"
"""What `parquet` writes, with one byte of a page changed: Polars 2.1 asks for 2**61 bytes of memory for it, and aborts."""


def test_a_file_that_ends_the_process_that_reads_it_is_a_fault_like_any_other() -> None:
    ((row, column, reason),) = faults(ENDS_POLARS.read_bytes())
    assert (row, column) == (None, None)
    assert re.fullmatch(r"damaged, or not to be read within [\d,]+ MiB of memory", reason)


def test_a_file_whose_reader_wants_more_memory_than_it_may_have_is_a_fault_that_says_how_much_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A column of half a gigabyte, which has the same value again and again and so is some kilobytes of file."""
    data = parquet(_typed(note=pl.Series(["x" * 64_000_000] * 2)))
    assert len(data) < 100_000
    assert faults(data)[0][2] == "column unknown"
    monkeypatch.setattr(parquet_apart, "memory_bound", lambda: 600 << 20)
    monkeypatch.setattr(uploads, "_columns", lambda *_: ["symbol", "date", *NUMBERS[:5], "note"])
    assert faults(data) == [(None, None, "damaged, or not to be read within 300 MiB of memory")]


def test_what_is_the_same_in_each_row_takes_no_more_memory_than_rows_do() -> None:
    """Of texts of 20 kB, ten thousand are 200 MB, and some kilobytes of file."""
    rows = 10_000
    long, many = pl.repeat(" " * 20_000 + "2013-03-04", rows, eager=True), pl.repeat([0.0] * 2000, rows, eager=True)
    data = parquet(pl.DataFrame({"symbol": long.cast(pl.Categorical), "date": long, "open": many}))
    assert len(data) < 200_000
    with file_of(data) as file, opened_apart(file) as opened:
        (piece,) = opened.pieces(opened.names, rows)
    assert piece["symbol"].str.len_bytes().max() == piece["date"].str.len_bytes().max() == len("(too long)")
    assert piece["open"].null_count() == rows
    whole = _typed(date=pl.Series([" " * 246 + "2013-03-04", " " * 247 + "2013-03-05"]))
    assert faults(parquet(whole)) == [(2, "date", "not a date (YYYY-MM-DD)")]


def test_an_import_has_as_many_rows_as_there_is_memory_for_in_however_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "rows_within", lambda _memory: 3)
    files = [csv(GOOD), csv(GOOD.replace("04", "05"), GOOD.replace("04", "06"))]
    bring(Memory(), *files)
    with pytest.raises(UnfitUpload) as refused:
        bring(Memory(), *files, csv(GOOD.replace("04", "07")))
    assert [fault.reason for fault in refused.value.faults] == ["more than 3 rows in all, for which there is no memory"]


@given(st.integers(0, 1 << 50))
def test_more_memory_is_never_fewer_rows_and_what_may_be_sent_is_within_four_gigabytes(memory: int) -> None:
    assert 250_000 <= rows_within(memory) <= rows_within(memory + 1)
    assert rows_within(4 << 30) >= uploads.MOST_ROWS


@settings(max_examples=20)  # each of them is read by a new process
@given(st.data())
def test_a_damaged_parquet_file_is_a_fault_and_nothing_else(data: st.DataObject) -> None:
    whole = bytearray(parquet(frame_of(sample()[:1]).head(50)))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnfitUpload):
        bring(Memory(), bytes(whole))
